// Smallest examples by hand. scripts/oracles/quantizer_parity.py compares with the engines'
// packages.
#include "lib/kernels/row_quantizers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lib/base/random.h"
#include "lib/kernels/fake_quantize_cpu.h"

namespace kvtune {
namespace {

std::vector<float> RandomValues(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.Unit() * 4 - 2);
  return values;
}

std::vector<float> RoundTrip(std::vector<float> row, Numerics numerics, int bits,
                             float static_scale = 1) {
  RoundTripRow({row.data(), static_cast<int64_t>(row.size()), 1}, {numerics, bits, static_scale});
  return row;
}

using Values = std::vector<float>;

TEST(RowQuantizers, AgreeWithExamplesByHand) {
  // Largest 7: scale 1, levels -8..7, halves to even.
  EXPECT_EQ(RoundTrip({-7, 0.5f, 1.5f, 7}, Numerics::kKvtunerSymmetric, 4), (Values{-7, 0, 2, 7}));
  // Scale 1; the cast to int8 truncates.
  EXPECT_EQ(RoundTrip({127, 1.9f, -1.9f}, Numerics::kVllmInt8, 8), (Values{127, 1, -1}));
  // (15 - 0) / 15 = 1 (bits 0x3f800000: nothing hides in the low four), halves away from zero.
  EXPECT_EQ(RoundTrip({0, 15, 0.5f, 2.4f}, Numerics::kVllmInt4, 4), (Values{0, 15, 1, 2}));
  // The range has no zero: the level of zero is held at 0, so the row is cut off at 15 steps.
  EXPECT_EQ(RoundTrip({15, 30}, Numerics::kVllmInt4, 4), (Values{15, 15}));
  // Scale 1, offset -0.5; with three bits halves go up.
  EXPECT_EQ(RoundTrip({-0.5f, 14.5f, 1.2f}, Numerics::kTurboquantValue, 4),
            (Values{-0.5f, 14.5f, 1.5f}));
  EXPECT_EQ(RoundTrip({0, 7, 3.5f}, Numerics::kTurboquantValue, 3), (Values{0, 7, 4}));
  // 6 / 6 = 1.
  EXPECT_EQ(RoundTrip({6, 1.3f, -0.2f, 5}, Numerics::kNvfp4, 4), (Values{6, 1.5f, 0, 4}));
  // Global scale 2: the block's scale is E4M3(1 / 2) * 2 = 1.
  EXPECT_EQ(RoundTrip({6, 2.5f}, Numerics::kNvfp4, 4, 2), (Values{6, 2}));
  // floor(log2 7) - 2 = 0: 7 saturates at 6.
  EXPECT_EQ(RoundTrip({7, 1}, Numerics::kMxfp4, 4), (Values{6, 1}));
  // ceil(log2(7 / 6)) = 1: scale 2, and 2.5 / 2 = 1.25 goes up to 1.5.
  EXPECT_EQ(RoundTrip({7, 2.5f}, Numerics::kSglangFp4, 4), (Values{8, 3}));
  // Scale 1, zero 0.5 (not rounded): (floor(x + 0.5 + 0.5) - 0.5).
  EXPECT_EQ(RoundTrip({-0.5f, 14.5f, 1.2f}, Numerics::kLmdeploy, 4), (Values{-0.5f, 14.5f, 1.5f}));
  EXPECT_EQ(RoundTrip({127, 0.5f, -0.4f}, Numerics::kGgmlQ8_0, 8), (Values{127, 1, 0}));
  // 1 / d is infinite.
  EXPECT_EQ(RoundTrip({1e-40f, 0, -1e-40f}, Numerics::kGgmlQ8_0, 8), (Values{0, 0, 0}));
  // d = -8 / -8 = 1: -8 is a level, 8 is not.
  EXPECT_EQ(RoundTrip({-8, 8, 0.4f}, Numerics::kGgmlQ4_0, 4), (Values{-8, 7, 0}));
  EXPECT_EQ(RoundTrip({8, -8}, Numerics::kGgmlQ4_0, 4), (Values{8, -7}));
  EXPECT_EQ(RoundTrip({1, 32, 3.4f}, Numerics::kGgmlQ5_1, 5), (Values{1, 32, 3}));
  // Step 1, and 3 is the farther edge: 3, 2, 1, 0.
  EXPECT_EQ(RoundTrip({0, 3, 1.4f}, Numerics::kMlxAffine, 2), (Values{0, 3, 1}));
  EXPECT_EQ(RoundTrip({-1, 2, 0.6f}, Numerics::kQuanto, 2), (Values{-1, 2, 1}));
  // Scale 1 with two bits: the middles -0.75, -0.25, 0.25, 0.75.
  EXPECT_EQ(RoundTrip({1, -1, 0.1f}, Numerics::kExllama, 2), (Values{0.75f, -0.75f, 0.25f}));
  EXPECT_EQ(RoundTrip({900, 17}, Numerics::kFp8E4m3, 8), (Values{448, 16}));
  EXPECT_EQ(RoundTrip({900, 17}, Numerics::kFp8E4m3, 8, 2), (Values{896, 16}));
}

TEST(RowQuantizers, TurboquantKeyAgreesWithExamplesByHand) {
  const float levels[] = {-0.5f, 0.5f};
  Values row = {0.1f, 0, -0.1f, 0.9f};
  // The middle of the levels goes up. Their length is 1, so that the correction leaves it.
  RoundTripRow({row.data(), 4, 1}, {Numerics::kTurboquantKey, 1, 8, levels});
  EXPECT_EQ(row, (Values{4, 4, -4, 4}));
  row = {0.6f, 0.8f};
  // A length of 1 / sqrt(2) becomes 1, then that of the norm in half precision, 2050 (steps of 2).
  RoundTripRow({row.data(), 2, 1}, {Numerics::kTurboquantKey, 1, 2049.5f, levels});
  for (const float x : row) EXPECT_FLOAT_EQ(x, 2050 / std::sqrt(2.0f));
}

TEST(RowQuantizers, AConstantRowOfLmdeployIsKeptAsNearlyAsAHalfCan) {
  EXPECT_EQ(RoundTrip({300, 300}, Numerics::kLmdeploy, 4), (Values{300, 300}));
  EXPECT_EQ(RoundTrip({2049, 2049}, Numerics::kLmdeploy, 8), (Values{2048, 2048}));  // steps of 2
}

TEST(RowQuantizers, OfKvtunerGiveTheBitsOfTheVectorCode) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const std::vector<float> in = RandomValues(40, 11);
    std::vector<float> expected(40);
    FakeQuantizeRows(in.data(), expected.data(), 1, 40, 40, bits);
    EXPECT_EQ(RoundTrip(in, Numerics::kKvtunerAsymmetric, bits), expected);
  }
}

TEST(RowQuantizers, SmallAndConstantRowsStayNumbersAndNearTheirValue) {
  for (const KvFormat& format : Formats()) {
    // Its zero is held within the levels, so that it cannot hold a constant (rotated rows are
    // none).
    if (format.numerics == Numerics::kVllmInt4) continue;
    if (format.numerics == Numerics::kTurboquantKey) continue;  // of unit vectors
    for (const float value : {0.0f, -0.0f, 1e-40f, -0.75f, 300.0f}) {
      for (const float x : RoundTrip(std::vector<float>(32, value), format.numerics, format.bits)) {
        EXPECT_TRUE(std::isfinite(x)) << format.name << " of " << value;
        EXPECT_NEAR(x, value, 0.25f * std::abs(value) + 1e-6f) << format.name << " of " << value;
      }
    }
  }
}

TEST(RowQuantizers, MoreBitsOfOneFamilyLoseLess) {
  const std::vector<float> in = RandomValues(64, 3);
  const auto error = [&](const KvFormat& format) {
    const std::vector<float> out = RoundTrip(in, format.numerics, format.bits);
    double sum = 0;
    for (size_t i = 0; i < in.size(); ++i) sum += std::abs(in[i] - out[i]);
    return sum;
  };
  const std::vector<std::vector<const char*>> families = {
      {"q8_0", "ik_q6_0", "q5_0", "q4_0"},
      {"mlx_int8", "mlx_int6", "mlx_int5", "mlx_int4", "mlx_int3", "mlx_int2"},
      {"hqq_int8", "hqq_int4", "hqq_int2"},
      {"exl3_int8", "exl3_int7", "exl3_int5", "exl3_int3"},
      {"tq_v4", "tq_v3"}};
  for (const auto& family : families) {
    for (size_t i = 1; i < family.size(); ++i) {
      EXPECT_LT(error(FormatOf(*FindFormat(family[i - 1]))),
                error(FormatOf(*FindFormat(family[i]))))
          << family[i];
    }
  }
}

}  // namespace
}  // namespace kvtune
