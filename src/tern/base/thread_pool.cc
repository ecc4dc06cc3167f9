#include "tern/base/thread_pool.h"

#include <algorithm>

#include "tern/base/check.h"

namespace tern {
namespace {

// About 20 microseconds: longer than the serial stretches between two loops of a decode step, shorter than a
// time slice.
constexpr int kSpins = 1500;
constexpr uint64_t kLowHalf = 0xffffffff;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int n_threads) {
  TERN_CHECK(n_threads >= 1);
  // With more threads than cores, a spinning thread only keeps another one from its work.
  const unsigned n_cores = std::max(1u, std::thread::hardware_concurrency());
  n_spins_ = static_cast<unsigned>(n_threads) <= n_cores ? kSpins : 0;
  workers_.reserve(static_cast<size_t>(n_threads) - 1);
  for (int thread = 1; thread < n_threads; ++thread) {
    workers_.emplace_back([this, thread] { worker_main(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  loop_number_.fetch_add(1, std::memory_order_release);
  loop_number_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(size_t n_items, size_t grain, Invoke invoke, const void* body) {
  TERN_CHECK(grain >= 1);
  const size_t n_pieces = n_items / grain + (n_items % grain != 0 ? 1 : 0);
  if (workers_.empty() || n_pieces <= 1) {
    for (size_t begin = 0; begin < n_items; begin += grain) invoke(body, begin, std::min(n_items, begin + grain), 0);
    return;
  }
  TERN_CHECK(n_pieces <= kLowHalf / 2);
  invoke_ = invoke;
  body_ = body;
  n_items_ = n_items;
  grain_ = grain;
  n_unfinished_.store(static_cast<int>(n_pieces), std::memory_order_relaxed);
  ticket_.store(uint64_t{n_pieces} << 32, std::memory_order_release);
  loop_number_.fetch_add(1, std::memory_order_release);
  loop_number_.notify_all();

  work(0);
  for (int spin = 0; spin < n_spins_ && n_unfinished_.load(std::memory_order_acquire) != 0; ++spin) pause_briefly();
  for (int left; (left = n_unfinished_.load(std::memory_order_acquire)) != 0;) {
    n_unfinished_.wait(left, std::memory_order_acquire);
  }
}

// Takes pieces until none is left. A taken piece keeps run() from returning, so what describes the loop stays valid.
void ThreadPool::work(int thread) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while ((ticket & kLowHalf) < ticket >> 32) {
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    const size_t begin = static_cast<size_t>(ticket & kLowHalf) * grain_;
    invoke_(body_, begin, std::min(n_items_, begin + grain_), thread);
    if (n_unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      n_unfinished_.notify_one();
    }
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

void ThreadPool::wait_for_loop(int seen) {
  for (int spin = 0; spin < n_spins_; ++spin) {
    if (loop_number_.load(std::memory_order_acquire) != seen) {
      return;
    }
    pause_briefly();
  }
  loop_number_.wait(seen, std::memory_order_acquire);
}

void ThreadPool::worker_main(int thread) {
  int seen = 0;
  while (true) {
    wait_for_loop(seen);
    seen = loop_number_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) {
      return;
    }
    work(thread);
  }
}

}  // namespace tern
