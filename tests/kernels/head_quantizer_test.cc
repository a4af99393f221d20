#include "lib/kernels/head_quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/kernels/lloyd_max.h"

namespace kvtune {
namespace {

using Values = std::vector<float>;

std::vector<float> RandomValues(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.Unit() * 4 - 2);
  return values;
}

TEST(HeadArithmetic, FollowsTheFormatsLayout) {
  const HeadArithmetic q4 = HeadArithmeticOf(FormatOf(KvFormatId::kQ4_0), KvSide::kValue, 192);
  EXPECT_EQ(q4.numerics, Numerics::kGgmlQ4_0);
  EXPECT_EQ(q4.bits, 4);
  EXPECT_EQ(q4.group, 32);
  EXPECT_EQ(q4.rotation, RotationKind::kHadamard);
  EXPECT_EQ(q4.rotation_block, 64);
  // llama.cpp leaves the rotation out where 64 does not divide head_dim.
  const HeadArithmetic plain = HeadArithmeticOf(FormatOf(KvFormatId::kQ4_0), KvSide::kValue, 80);
  EXPECT_EQ(plain.rotation, RotationKind::kNone);
  EXPECT_EQ(plain.rotation_block, 0);
  // A group of 0 is the whole head.
  EXPECT_EQ(HeadArithmeticOf(FormatOf(KvFormatId::kInt4), KvSide::kKey, 80).group, 80);
}

TEST(HeadArithmetic, TurboquantKeysBringTheirLevels) {
  const HeadArithmetic key =
      HeadArithmeticOf(FormatOf(KvFormatId::kTurboquantKey3), KvSide::kKey, 64);
  const std::vector<float>& levels = LloydMaxLevels(64, 3);
  EXPECT_EQ(Values(key.levels, key.levels + 8), levels);
  EXPECT_EQ(key.levels[8], 0);
}

TEST(HeadArithmetic, SignedRotationOfAHeadThatIsTooLargeIsRefused) {
  const KvFormat& format = FormatOf(KvFormatId::kInt4PerTokenHead);
  EXPECT_EQ(HeadArithmeticOf(format, KvSide::kKey, 512).rotation_block, 512);
  try {
    HeadArithmeticOf(format, KvSide::kKey, 1024);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("found a head_dim of 1024, expected at most 512"));
  }
}

TEST(HeadQuantizer, TheHadamardTransformByHand) {
  Values x = {1, 2, 3, 5};
  WalshHadamard({x.data(), 4, 1});
  EXPECT_EQ(x, (Values{11, -3, -5, 1}));  // sums with the signs ++++, +-+-, ++--, +--+
  WalshHadamard({x.data(), 4, 1});
  EXPECT_EQ(x, (Values{4, 8, 12, 20}));  // its own inverse, but for the factor 4
}

TEST(HeadQuantizer, SignsAreAboutHalfOfEach) {
  const HeadArithmetic arithmetic =
      HeadArithmeticOf(FormatOf(KvFormatId::kInt4PerTokenHead), KvSide::kKey, 512);
  Values x(512, 1.0f);
  FlipSigns({x.data(), 512, 1}, arithmetic);
  double sum = 0;
  for (const float value : x) {
    EXPECT_EQ(std::abs(value), 1);
    sum += value;
  }
  EXPECT_LT(std::abs(sum), 3 * std::sqrt(512.0));
  // A smaller head takes the first of the same signs, as vLLM's sequence has one seed.
  const HeadArithmetic smaller =
      HeadArithmeticOf(FormatOf(KvFormatId::kInt4PerTokenHead), KvSide::kKey, 64);
  EXPECT_EQ(smaller.negative[0], arithmetic.negative[0]);
  EXPECT_EQ(smaller.negative[1], 0u);
}

TEST(HeadQuantizer, TheLastRowOfAHeadMayBeShorter) {
  const HeadArithmetic arithmetic =
      HeadArithmeticOf(FormatOf(KvFormatId::kMlxInt4), KvSide::kKey, 96);
  const Values in = RandomValues(96, 4);
  Values head = in, tail(in.begin() + 64, in.end());
  RoundTripHead({head.data(), 96, 1}, arithmetic, 1);
  RoundTripRow({tail.data(), 32, 1}, {Numerics::kMlxAffine, 4});
  EXPECT_EQ(Values(head.begin() + 64, head.end()), tail);
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

// Keys of a pruned head, and of one whose bias is all that it has.
TEST(HeadQuantizer, ZeroAndConstantHeadsStayNumbersAndNearTheirValue) {
  for (const KvFormat& format : Formats()) {
    for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
      for (const int64_t head_dim : {64, 96, 128}) {
        const HeadArithmetic arithmetic = HeadArithmeticOf(format, side, head_dim);
        const auto quantized = [&](float value) {
          Values head(static_cast<size_t>(head_dim), value);
          RoundTripHead({head.data(), head_dim, 1}, arithmetic, 1);
          return head;
        };
        for (const float x : quantized(0)) EXPECT_EQ(x, 0) << format.name;
        for (const float value : {0.75f, -300.0f}) {
          double error = 0;
          for (const float x : quantized(value)) {
            ASSERT_TRUE(std::isfinite(x)) << format.name << " of " << value;
            error += std::pow(static_cast<double>(x - value), 2);
          }
          // A rotation makes one large coefficient of a constant, for which few levels are coarse.
          if (arithmetic.rotation == RotationKind::kHadamard && format.bits < 5) continue;
          const double mean = std::sqrt(error / static_cast<double>(head_dim));
          EXPECT_LE(mean, 0.3 * std::abs(value)) << format.name << " of " << value;
        }
      }
    }
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
