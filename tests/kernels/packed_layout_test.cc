#include "lib/kernels/packed_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "tests/kernels/packed_case.h"

namespace kvtune {
namespace {

using Id = KvFormatId;

TEST(PackedLayout, PagesTakeTheEffectiveBitsAndNoMore) {
  for (const PrecisionPair pair : PackedPairs()) {
    for (const int64_t head_dim : {32, 64, 96, 128, 192, 256}) {
      const PackedLayout layout = PackedLayoutOf(pair, head_dim);
      const double bits = EffectiveBits(FormatOf(pair.key), KvSide::kKey, head_dim) +
                          EffectiveBits(FormatOf(pair.value), KvSide::kValue, head_dim);
      EXPECT_DOUBLE_EQ(static_cast<double>(layout.page.bytes * 8),
                       bits * static_cast<double>(kPageTokens * head_dim));
      for (const int64_t plane : {layout.page.value_codes, layout.page.key_parameters,
                                  layout.page.value_parameters, layout.page.bytes})
        EXPECT_EQ(plane % kPlaneAlignment, 0);
    }
  }
}

TEST(PackedLayout, AGroupIsPackedAfterItsLastTokenAttended) {
  const PackedLayout kivi = PackedLayoutOf({Id::kKiviInt4, Id::kKiviInt4}, 64);
  EXPECT_EQ(kivi.PackedTokens(0), 0);
  EXPECT_EQ(kivi.PackedTokens(32), 0);
  EXPECT_EQ(kivi.PackedTokens(33), 32);
  EXPECT_EQ(kivi.PackedTokens(64), 32);
  EXPECT_EQ(kivi.window.bytes, 32 * 64 * 2 * 2);
  EXPECT_EQ(kivi.BytesOf(33), kivi.page.bytes + kivi.window.bytes);
  const PackedLayout per_token = PackedLayoutOf({Id::kInt4, Id::kInt4}, 64);
  EXPECT_EQ(per_token.PackedTokens(33), 33);
  EXPECT_EQ(per_token.window.bytes, 0);
  EXPECT_EQ(per_token.BytesOf(65), 2 * per_token.page.bytes);
}

TEST(PackedLayout, SaysWhatCannotBePacked) {
  using ::testing::HasSubstr;
  EXPECT_THAT(WhyNotPacked({Id::kQ8_0, Id::kInt8}, 128), HasSubstr("found the format q8_0"));
  EXPECT_THAT(WhyNotPacked({Id::kInt8, Id::kInt8}, 80), HasSubstr("found heads of 80 channels"));
  EXPECT_THAT(WhyNotPacked({Id::kKiviInt8, Id::kInt8}, 64), HasSubstr("residual window"));
  EXPECT_THROW(PackedLayoutOf({Id::kQ8_0, Id::kInt8}, 128), Error);
  EXPECT_EQ(PackedPairs().size(), 40u);
}

}  // namespace
}  // namespace kvtune
