#include "lib/core/layer_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

TEST(LayerSplit, StagesHaveAboutAsManyLayersEach) {
  EXPECT_THAT(SplitEvenly(4, 1), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(SplitEvenly(4, 2), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(SplitEvenly(5, 3), ElementsAre(0, 0, 1, 1, 2));
  EXPECT_THAT(SplitEvenly(3, 3), ElementsAre(0, 1, 2));
}

TEST(LayerSplit, AsFewDevicesAsHaveRoomAreFilledAlike) {
  EXPECT_THAT(SplitByRoom(4, 10, std::vector<int64_t>{40, 40}), Optional(ElementsAre(0, 0, 0, 0)));
  EXPECT_THAT(SplitByRoom(4, 10, std::vector<int64_t>{39, 39, 39}),
              Optional(ElementsAre(0, 0, 1, 1)));
  EXPECT_THAT(SplitByRoom(6, 10, std::vector<int64_t>{20, 60}),
              Optional(ElementsAre(0, 0, 1, 1, 1, 1)));
  EXPECT_THAT(SplitByRoom(3, 10, std::vector<int64_t>{10, 5, 10, 12}),
              Optional(ElementsAre(0, 2, 3)));
  EXPECT_EQ(SplitByRoom(5, 10, std::vector<int64_t>{29, -5, 29}), std::nullopt);
}

// However the rooms are, no device gets more than it has room for.
TEST(LayerSplit, NoDeviceGetsMoreThanItHasRoomFor) {
  for (int64_t a = 1; a < 9; ++a) {
    for (int64_t b = 0; b < 9; ++b) {
      for (int64_t c = 0; c < 9; ++c) {
        for (size_t layers = 1; layers <= 12; ++layers) {
          const std::vector<int64_t> room{a, b, c};
          const auto split = SplitByRoom(layers, 1, room);
          ASSERT_EQ(split.has_value(), static_cast<int64_t>(layers) <= a + b + c);
          if (!split) continue;
          ASSERT_EQ(split->size(), layers);
          EXPECT_TRUE(std::ranges::is_sorted(*split));
          EXPECT_EQ(split->front(), 0u);
          for (size_t stage = 0; stage < room.size(); ++stage)
            EXPECT_LE(std::ranges::count(*split, stage), room[stage])
                << layers << " on " << a << " " << b << " " << c;
        }
      }
    }
  }
}

}  // namespace
}  // namespace kvtune
