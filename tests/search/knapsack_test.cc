#include "search/knapsack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

using Selection = std::vector<size_t>;
using Items = std::vector<std::vector<KnapsackChoice>>;

TEST(Knapsack, SelectionsAreTheUndominatedOnesByAscendingBytes) {
  const Items items = {{{0, 0}, {-2, 1}, {-3, 5}}, {{0, 0}, {-2, 3}, {1, 0}}};
  // -5: 8; -4: 4; -3: 5 and 4, of which -4 has the smaller already; -2: 1; 0: 0; 1: 0, as 0 has.
  EXPECT_THAT(KnapsackFront(items),
              ElementsAre(Selection{2, 1}, Selection{1, 1}, Selection{1, 0}, Selection{0, 0}));
}

TEST(Knapsack, OfEqualSelectionsTheFirstChoicesAreTaken) {
  const Items items = {{{1, 1}, {1, 1}, {2, 1}}, {{0, 2}, {0, 2}}};
  EXPECT_THAT(KnapsackFront(items), ElementsAre(Selection{0, 0}));
}

TEST(Knapsack, NoItemsHaveOneSelection) {
  EXPECT_THAT(KnapsackFront({}), ElementsAre(Selection{}));
}

// Every sum of 0 to 39,999 bytes loses a little less than the one before.
TEST(Knapsack, LongFrontsAreThinnedToTheBestOfEvenRanges) {
  constexpr size_t kChoices = 200, kMost = 16384;
  Items items(2);
  for (size_t i = 0; i < kChoices; ++i) {
    const auto number = static_cast<double>(i);
    items[0].push_back({kChoices * number, -static_cast<double>(kChoices) * number});
    items[1].push_back({number, -number});
  }
  const std::vector<Selection> front = KnapsackFront(items);
  ASSERT_THAT(front, SizeIs(kMost));
  std::vector<size_t> sums;
  for (const Selection& selection : front) sums.push_back(kChoices * selection[0] + selection[1]);
  EXPECT_EQ(sums.back(), kChoices * kChoices - 1);
  EXPECT_LE(sums.front(), 2u);
  for (size_t i = 1; i < sums.size(); ++i) {
    ASSERT_GT(sums[i], sums[i - 1]);
    ASSERT_LE(sums[i] - sums[i - 1], 4u);  // a range of 40,000 / 16,384 bytes, and the next
  }
}

// As many as may be are all kept, however they lie.
TEST(Knapsack, TheLongestFrontIsWhole) {
  constexpr size_t kChoices = 128;
  Items items(2);
  for (size_t i = 0; i < kChoices; ++i) {
    const auto number = static_cast<double>(i);
    const double far = i + 1 == kChoices ? 1e6 : 0;
    items[0].push_back({kChoices * number + far, -static_cast<double>(kChoices) * number});
    items[1].push_back({number, -number});
  }
  EXPECT_THAT(KnapsackFront(items), SizeIs(kChoices * kChoices));
}

}  // namespace
}  // namespace kvtune
