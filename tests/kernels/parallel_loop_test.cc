#include "lib/kernels/parallel_loop.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace kvtune {
namespace {

TEST(ParallelLoop, CallsEveryItemOnce) {
  for (const int threads : {-1, 0, 1, 2, 5}) {
    for (const size_t count : {0u, 1u, 3u, 100u}) {
      std::vector<std::atomic<int>> calls(count);
      ParallelLoop(threads, count, [&](size_t i) { ++calls[i]; });
      for (size_t i = 0; i < count; ++i)
        EXPECT_EQ(calls[i], 1) << threads << " threads, item " << i;
    }
  }
}

TEST(ParallelLoop, UsesUpToThatManyThreads) {
  std::vector<int> team(8);
  ParallelLoop(3, team.size(), [&](size_t i) { team[i] = omp_get_num_threads(); });
  EXPECT_EQ(team, std::vector<int>(8, 3));
  team.resize(2);
  ParallelLoop(3, team.size(), [&](size_t i) { team[i] = omp_get_num_threads(); });
  EXPECT_EQ(team, std::vector<int>(2, 2));  // not more than items
}

TEST(ParallelLoop, OneThreadWorksInOrder) {
  std::vector<size_t> order;
  ParallelLoop(1, 5, [&](size_t i) { order.push_back(i); });
  EXPECT_EQ(order, (std::vector<size_t>{0, 1, 2, 3, 4}));
}

TEST(ParallelLoop, ALoopInsideStaysOnItsThread) {
  std::atomic<int> strayed = 0;
  ParallelLoop(2, 4, [&](size_t) {
    const std::thread::id outer = std::this_thread::get_id();
    ParallelLoop(4, 8, [&](size_t) { strayed += std::this_thread::get_id() != outer; });
  });
  EXPECT_EQ(strayed, 0);
}

TEST(ParallelLoop, ThrowsTheErrorAfterAllHaveStopped) {
  for (const int threads : {1, 3}) {
    std::atomic<int> running = 0;
    std::atomic<size_t> started = 0;
    try {
      ParallelLoop(threads, 1000, [&](size_t i) {
        ++running;
        ++started;
        if (i == 2) {
          --running;
          throw std::runtime_error("item 2");
        }
        --running;
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "item 2");
      EXPECT_EQ(running, 0);
      EXPECT_GE(started, 3u);
    }
  }
}

TEST(OperatorsOnOneThread, EndsWithItsScope) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(3);
  {
    const OperatorsOnOneThread one;
    EXPECT_EQ(omp_get_max_threads(), 1);
  }
  EXPECT_EQ(omp_get_max_threads(), 3);
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace kvtune
