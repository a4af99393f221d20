#include "lib/core/kv_format.h"

#include <gtest/gtest.h>

namespace kvtune {
namespace {

TEST(KvFormatTest, TableIsIndexedByIdAndNamesAreDistinct) {
  for (int i = 0; i <= static_cast<int>(KvFormatId::kKiviInt2); ++i) {
    const auto id = static_cast<KvFormatId>(i);
    EXPECT_EQ(FormatOf(id).id, id);
    EXPECT_EQ(FindFormat(FormatOf(id).name), id);
  }
  EXPECT_EQ(FindFormat("int3"), std::nullopt);
  EXPECT_EQ(FindFormat(""), std::nullopt);
}

TEST(KvFormatTest, EffectiveBitsCountScalesAndZeros) {
  // 16-bit scale and zero a row: of 128 channels, or of 32 elements.
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kInt4), KvSide::kKey, 128), 4.25);
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kInt8), KvSide::kValue, 64), 8.5);
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kKiviInt2), KvSide::kKey, 128), 3);
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kKiviInt2), KvSide::kValue, 128), 3);
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kExact), KvSide::kKey, 128), 16);
}

TEST(KvFormatTest, RowsThatDoNotFillAGroupStillHaveAScale) {
  // 40 channels in groups of 32 are two rows a token.
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kKiviInt4), KvSide::kValue, 40),
                   4 + 2 * 32 / 40.0);
}

}  // namespace
}  // namespace kvtune
