#include "tern/base/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

namespace tern {
namespace {

TEST(ThreadPool, EachItemIsTakenOnce) {
  for (const int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(pool.n_threads(), n_threads);
    for (const size_t n_items : {0UL, 1UL, 2UL, 7UL, 64UL, 1000UL}) {
      for (const size_t grain : {1UL, 3UL, 64UL, 5000UL}) {
        std::vector<std::atomic<int>> taken(n_items);
        std::atomic<bool> in_range = true;
        pool.for_each_piece(n_items, grain, [&](size_t begin, size_t end, int thread) {
          if (begin >= end || end - begin > grain || end > n_items || thread < 0 || thread >= n_threads) {
            in_range = false;
            return;
          }
          for (size_t i = begin; i < end; ++i) ++taken[i];
        });
        EXPECT_TRUE(in_range);
        for (const auto& count : taken) EXPECT_EQ(count, 1);
      }
    }
  }
}

// What one loop wrote, the next one and the caller see. Thousands of short loops in a row, as decoding has them.
TEST(ThreadPool, LoopsFollowEachOther) {
  ThreadPool pool(4);
  std::vector<int64_t> values(97);
  std::iota(values.begin(), values.end(), 0);
  for (int loop = 0; loop < 20000; ++loop) {
    pool.for_each_piece(values.size(), 5, [&](size_t begin, size_t end, int) {
      for (size_t i = begin; i < end; ++i) ++values[i];
    });
  }
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], static_cast<int64_t>(i) + 20000);
}

// Workers that went to sleep wake up again.
TEST(ThreadPool, WakesAfterAPause) {
  ThreadPool pool(3);
  for (int loop = 0; loop < 20; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<size_t> sum = 0;
    pool.for_each_piece(100, 1, [&](size_t begin, size_t, int) { sum += begin; });
    EXPECT_EQ(sum, 4950U);
  }
}

TEST(ThreadPool, ScratchOfAThreadIsItsOwn) {
  ThreadPool pool(4);
  std::vector<std::atomic<bool>> busy(4);
  std::atomic<bool> shared = false;
  pool.for_each_piece(2000, 1, [&](size_t, size_t, int thread) {
    if (busy[static_cast<size_t>(thread)].exchange(true)) {
      shared = true;
    }
    busy[static_cast<size_t>(thread)] = false;
  });
  EXPECT_FALSE(shared);
}

}  // namespace
}  // namespace tern
