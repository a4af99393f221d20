// Smallest examples by hand; comparison with the engines' packages:
// scripts/oracles/quantizer_parity.py.
#include "lib/kernels/row_quantizers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lib/base/random.h"
#include "lib/kernels/fake_quantize_cpu.h"
#include "lib/kernels/lloyd_max.h"

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
  RoundTripRow({row.data(), static_cast<int64_t>(row.size()), 1}, numerics, bits, static_scale);
  return row;
}

using Values = std::vector<float>;

TEST(SmallFloats, RoundHalfToEvenAndSaturate) {
  EXPECT_EQ(RoundToE2m1(0.25f), 0);
  EXPECT_EQ(RoundToE2m1(0.75f), 1);
  EXPECT_EQ(RoundToE2m1(2.5f), 2);
  EXPECT_EQ(RoundToE2m1(-3.5f), -4);
  EXPECT_EQ(RoundToE2m1(5), 4);
  EXPECT_EQ(RoundToE2m1(100), 6);
  EXPECT_EQ(RoundToE4m3(1e9f), 448);
  EXPECT_EQ(RoundToE4m3(17), 16);            // steps of 2 from 16 on
  EXPECT_EQ(RoundToE4m3(0.0009765625f), 0);  // half of the smallest, 2^-9
  EXPECT_EQ(RoundToE5m2(-1e9f), -57344);
  EXPECT_EQ(RoundToHalf(1.0f + 1.0f / 2048), 1);
  EXPECT_TRUE(std::isinf(RoundToHalf(65520)));
  EXPECT_EQ(RoundToHalf(65519), 65504);
  EXPECT_TRUE(std::isnan(RoundToE4m3(std::nanf(""))));
}

TEST(SmallFloats, EveryStorableNumberStaysAndOthersGoToANeighbour) {
  // All halves, from their bits: sign, five bits of exponent, ten of mantissa.
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const uint32_t exponent = bits >> 10, mantissa = bits & 0x3ff;
    const float half = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                     : std::ldexp(static_cast<float>(mantissa + 1024),
                                                  static_cast<int>(exponent) - 25);
    ASSERT_EQ(RoundToHalf(half), half);
    ASSERT_EQ(RoundToHalf(-half), -half);
    ASSERT_EQ(RoundToHalf(std::nextafter(half, 1e9f)), half);
  }
}

TEST(RowQuantizers, ByHand) {
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

TEST(RowQuantizers, TurboquantKeyByHand) {
  const float levels[] = {-0.5f, 0.5f};
  Values row = {0.1f, 0, -0.1f, 0.9f};
  // The middle of the levels goes up. Their length is 1, so that the correction leaves it.
  RoundTripRow({row.data(), 4, 1}, Numerics::kTurboquantKey, 1, 8, levels);
  EXPECT_EQ(row, (Values{4, 4, -4, 4}));
  row = {0.6f, 0.8f};
  // A length of 1 / sqrt(2) becomes 1, then that of the norm in half precision, 2050 (steps of 2).
  RoundTripRow({row.data(), 2, 1}, Numerics::kTurboquantKey, 1, 2049.5f, levels);
  for (const float x : row) EXPECT_FLOAT_EQ(x, 2050 / std::sqrt(2.0f));
}

// J. Max, Quantizing for Minimum Distortion, IRE Trans. Inf. Theory 6 (1960), table I: of
// variance 1. vLLM's trapezoidal rule has the outermost level a little nearer to 0.
TEST(LloydMaxTest, LevelsAreThoseOfTheLiterature) {
  const std::vector<double> of_8 = {0.2451, 0.7560, 1.344, 2.152};
  const std::vector<double> of_16 = {0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733};
  for (const int64_t head_dim : {16, 64, 128, 256}) {
    for (const auto& [bits, expected] : {std::pair(3, of_8), std::pair(4, of_16)}) {
      const std::vector<float>& levels = LloydMaxLevels(head_dim, bits);
      ASSERT_EQ(levels.size(), 2 * expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        const double level = static_cast<double>(levels[expected.size() + i]);
        EXPECT_NEAR(level * std::sqrt(head_dim), expected[i], 1e-3 * expected[i])
            << head_dim << ", " << bits << " bits, " << i;
        EXPECT_EQ(levels[expected.size() - 1 - i], -levels[expected.size() + i]);  // 0 is a middle
      }
    }
  }
  // One bit: the means of both halves, sqrt(2 / pi) away from 0.
  EXPECT_NEAR(static_cast<double>(LloydMaxLevels(1, 1)[1]), 0.79788, 1e-3);
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

TEST(HeadQuantizer, RotationIsUndoneAndSpreadsAnOutlier) {
  for (const char* name : {"q8_0", "int4_per_token_head", "exl3_int8", "tq_k4"}) {
    const KvFormat& format = FormatOf(*FindFormat(name));
    for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
      HeadArithmetic arithmetic = HeadArithmeticOf(format, side, 128);
      EXPECT_GT(arithmetic.rotation_block, 0) << name;
      arithmetic.numerics = Numerics::kExact;
      const std::vector<float> in = RandomValues(128, 5);
      std::vector<float> out = in;
      RoundTripHead({out.data(), 128, 1}, arithmetic, 1);
      for (size_t i = 0; i < in.size(); ++i) EXPECT_NEAR(out[i], in[i], 1e-5f) << name;
    }
  }
  // 4-bit blocks of 32 with one outlier of 100: without the rotation its neighbours vanish.
  std::vector<float> plain = RandomValues(64, 6), rotated;
  plain[7] = 100;
  rotated = plain;
  const std::vector<float> in = plain;
  RoundTripHead({plain.data(), 64, 1},
                HeadArithmeticOf(FormatOf(KvFormatId::kIkQ4_0), KvSide::kKey, 64), 1);
  RoundTripHead({rotated.data(), 64, 1},
                HeadArithmeticOf(FormatOf(KvFormatId::kQ4_0), KvSide::kKey, 64), 1);
  EXPECT_EQ(plain[8], 0);
  EXPECT_NE(rotated[8], 0);
}

TEST(HeadQuantizer, TurboquantKeysKeepTheirLengthSignAndScale) {
  const auto length = [](const Values& x) {
    double sum = 0;
    for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
    return std::sqrt(sum);
  };
  double error_before = 0;
  for (const char* name : {"tq_k4", "tq_k3"}) {
    const HeadArithmetic arithmetic =
        HeadArithmeticOf(FormatOf(*FindFormat(name)), KvSide::kKey, 128);
    const auto quantized = [&](const Values& x, float factor) {
      Values y = x;
      for (float& value : y) value *= factor;
      RoundTripHead({y.data(), 128, 1}, arithmetic, 1);
      return y;
    };
    const Values in = RandomValues(128, 9), out = quantized(in, 1);
    EXPECT_NEAR(length(out) / length(in), 1, 1.0 / 2048) << name;  // half precision
    Values opposite = out, doubled = out, difference = in;
    for (float& value : opposite) value = -value;
    for (float& value : doubled) value *= 2;
    EXPECT_EQ(quantized(in, -1), opposite) << name;
    EXPECT_EQ(quantized(in, 2), doubled) << name;
    for (size_t i = 0; i < in.size(); ++i) difference[i] -= out[i];
    // Of a normal distribution 16 levels leave 0.0095 of the power, 8 levels 0.0345 (Max, table I).
    const double error = length(difference) / length(in),
                 expected = std::sqrt(name[4] == '4' ? 0.0095 : 0.0345);
    EXPECT_NEAR(error, expected, 0.15 * expected) << name;
    EXPECT_GT(error, error_before) << name;
    error_before = error;
  }
}

TEST(HeadQuantizer, StrideIsNotSeenInTheResult) {
  const HeadArithmetic arithmetic = HeadArithmeticOf(FormatOf(KvFormatId::kQ5_1), KvSide::kKey, 64);
  const std::vector<float> in = RandomValues(64, 8);
  std::vector<float> dense = in, spread(64 * 3);
  for (size_t i = 0; i < 64; ++i) spread[i * 3] = in[i];
  RoundTripHead({dense.data(), 64, 1}, arithmetic, 1);
  RoundTripHead({spread.data(), 64, 3}, arithmetic, 1);
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(spread[i * 3], dense[i]);
}

}  // namespace
}  // namespace kvtune
