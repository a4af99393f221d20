#include "lib/base/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::ElementsAre;

TEST(SplitAt, KeepsEmptyParts) {
  EXPECT_THAT(SplitAt('|', "auto|float32|bfloat16"), ElementsAre("auto", "float32", "bfloat16"));
  EXPECT_THAT(SplitAt('\n', "one"), ElementsAre("one"));
  EXPECT_THAT(SplitAt('\n', "\na\n"), ElementsAre("", "a", ""));
  EXPECT_THAT(SplitAt('|', ""), ElementsAre(""));
}

}  // namespace
}  // namespace kvtune
