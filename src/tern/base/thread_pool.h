// A fixed set of threads that share out loops. Made for many short loops in a row (a forward pass has hundreds):
// waiting threads spin for some microseconds, then sleep, so that more threads than cores stay usable.
//
// The number of threads never changes a bit: callers split by independent outputs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace tern {

class ThreadPool {
 public:
  // `n_threads` >= 1 counts the calling thread, so 1 starts none.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end, thread) for pieces of [0, n_items) of at most `grain` items; returns when all are done.
  // `thread` is in [0, n_threads()): for scratch memory of each thread's own. The next free thread takes a piece.
  // Only from the thread that owns the pool, and not from inside a body.
  template <class Body>
  void for_each_piece(size_t n_items, size_t grain, const Body& body) {
    run(
        n_items, grain,
        [](const void* context, size_t begin, size_t end, int thread) {
          (*static_cast<const Body*>(context))(begin, end, thread);
        },
        &body);
  }

 private:
  using Invoke = void (*)(const void* body, size_t begin, size_t end, int thread);

  void run(size_t n_items, size_t grain, Invoke invoke, const void* body);
  void work(int thread);
  void worker_main(int thread);
  void wait_for_loop(int seen);

  std::vector<std::thread> workers_;
  int n_spins_;

  // The current loop. Written by the owner before `ticket_` offers its pieces; read only by threads that took one.
  Invoke invoke_ = nullptr;
  const void* body_ = nullptr;
  size_t n_items_ = 0;
  size_t grain_ = 1;

  // Number of pieces (high half) and the next one to take (low half), in one word, so that a thread that wakes late
  // cannot take a piece by an outdated count.
  alignas(64) std::atomic<uint64_t> ticket_ = 0;
  alignas(64) std::atomic<int> n_unfinished_ = 0;
  alignas(64) std::atomic<int> loop_number_ = 0;  // sleeping workers wait for it to change
  std::atomic<bool> stop_ = false;
};

}  // namespace tern
