#include "lib/distributed/tcp_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "lib/base/error.h"
#include "lib/distributed/lease_times.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(TcpStore, IsNotWaitedForLongerThanAsked) {
  const auto began = std::chrono::steady_clock::now();
  // Nothing listens at port 1.
  EXPECT_THAT(
      [] {
        OpenTcpStore({.rank = 1, .world = 2, .address = "127.0.0.1", .port = 1},
                     std::chrono::seconds(2));
      },
      ThrowsMessage<Error>(HasSubstr("connecting to the store at 127.0.0.1:1: found nothing within "
                                     "2 s, expected rank 0 of this run there")));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

TEST(LeaseTimes, EndAProcessWithoutRankZeroWithinAMinute) {
  const LeaseTimes times;
  const std::chrono::seconds last_try(8);
  EXPECT_LE(times.opening + last_try, std::chrono::minutes(1));
  EXPECT_LE(times.greeting, std::chrono::minutes(1));
  EXPECT_LE(times.silence + times.slice, std::chrono::minutes(1));
}

}  // namespace
}  // namespace kvtune
