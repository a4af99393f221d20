#include "lib/runner/shared_prefixes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kNone = -1;

TEST(LastingTokens, AreWholeGroupsOfBothSides) {
  using enum KvFormatId;
  const int64_t kivi = FormatOf(kKiviInt4).residual_window_tokens;
  const int64_t quanto = FormatOf(kQuantoInt4).residual_window_tokens;
  ASSERT_GT(quanto, kivi);
  ASSERT_EQ(quanto % kivi, 0);
  EXPECT_EQ(LastingTokens(kExactPair, 1001), 1001);
  EXPECT_EQ(LastingTokens({kInt4, kInt2}, 1001), 1001);
  EXPECT_EQ(LastingTokens({kKiviInt4, kInt2}, 3 * kivi + 1), 3 * kivi);
  EXPECT_EQ(LastingTokens({kKiviInt4, kQuantoInt4}, 2 * quanto + kivi), 2 * quanto);
  EXPECT_EQ(LastingTokens({kKiviInt4, kKiviInt4}, kivi - 1), 0);
}

TEST(SharedPrefixes, RowsThatShareBothSidesStandTogether) {
  SharedPrefixes prefixes(5);
  for (const int64_t row : {0, 1, 2, 4}) EXPECT_THAT(prefixes.Begin(row, 10), IsEmpty());
  EXPECT_TRUE(prefixes.has_changed());
  EXPECT_THAT(prefixes.Groups(2), ElementsAre(0, 0, 10, 0, kNone, 1, 1, 10, 1, kNone, 2, 2, 10, 2,
                                              kNone, 4, 4, 10, 4, kNone));
  EXPECT_FALSE(prefixes.has_changed());
  prefixes.Share(std::vector<int64_t>{1, 2, 4}, KvSide::kKey);
  prefixes.Share(std::vector<int64_t>{0, 1, 4}, KvSide::kValue);
  EXPECT_TRUE(prefixes.has_changed());
  EXPECT_THAT(prefixes.Groups(2),
              ElementsAre(0, 0, 10, 0, kNone, 1, 0, 10, 1, 4, 1, 2, 10, 2, kNone));
}

TEST(SharedPrefixes, AGroupHasNoMoreRowsThanAreAskedFor) {
  SharedPrefixes prefixes(3);
  for (const int64_t row : {0, 1, 2}) prefixes.Begin(row, 7);
  for (const KvSide side : {KvSide::kKey, KvSide::kValue})
    prefixes.Share(std::vector<int64_t>{0, 1, 2}, side);
  EXPECT_THAT(prefixes.Groups(2), ElementsAre(0, 0, 7, 0, 1, 0, 0, 7, 2, kNone));
  EXPECT_THAT(prefixes.Groups(4), ElementsAre(0, 0, 7, 0, 1, 2, kNone));
}

TEST(SharedPrefixes, RowsOfDifferentLastingTokensStandApart) {
  SharedPrefixes prefixes(2);
  prefixes.Begin(0, 7);
  prefixes.Begin(1, 4);
  for (const KvSide side : {KvSide::kKey, KvSide::kValue})
    prefixes.Share(std::vector<int64_t>{0, 1}, side);
  EXPECT_THAT(prefixes.Groups(2), ElementsAre(0, 0, 4, 1, kNone, 0, 0, 7, 0, kNone));
}

TEST(SharedPrefixes, AnEndedRowHoldsWhatOthersReadUntilTheNextBegins) {
  SharedPrefixes prefixes(4);
  for (const int64_t row : {0, 1, 2, 3}) prefixes.Begin(row, row == 2 ? 12 : 8);
  prefixes.Share(std::vector<int64_t>{0, 1, 2, 3}, KvSide::kKey);
  prefixes.Share(std::vector<int64_t>{1, 3}, KvSide::kValue);
  prefixes.End(1);
  prefixes.End(0);
  EXPECT_THAT(prefixes.Groups(1), ElementsAre(0, 1, 8, 3, 0, 2, 12, 2));
  const std::vector<SharedPrefixes::Move> keys = prefixes.Begin(0, 5);
  ASSERT_THAT(keys, SizeIs(1));
  EXPECT_EQ(keys[0].side, KvSide::kKey);
  EXPECT_EQ(keys[0].from, 0);
  EXPECT_EQ(keys[0].to, 2);
  EXPECT_EQ(keys[0].tokens, 12);
  EXPECT_THAT(prefixes.Groups(1), ElementsAre(0, 0, 5, 0, 2, 1, 8, 3, 2, 2, 12, 2));
  const std::vector<SharedPrefixes::Move> values = prefixes.Begin(1, 5);
  ASSERT_THAT(values, SizeIs(1));
  EXPECT_EQ(values[0].side, KvSide::kValue);
  EXPECT_EQ(values[0].to, 3);
  EXPECT_EQ(values[0].tokens, 8);
  prefixes.End(2);
  prefixes.End(3);
  EXPECT_THAT(prefixes.Begin(2, 5), IsEmpty());  // nobody is left who reads it
  EXPECT_THAT(prefixes.Groups(1), ElementsAre(0, 0, 5, 0, 1, 1, 5, 1, 2, 2, 5, 2));
}

}  // namespace
}  // namespace kvtune
