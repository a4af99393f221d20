#include "lib/kernels/small_floats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace kvtune {
namespace {

float E2m1(float x) { return E2m1Value(E2m1Code(x)); }
float E5m2(float x) { return E5m2Value(E5m2Code(x)); }

TEST(SmallFloats, RoundHalfToEvenAndSaturate) {
  EXPECT_EQ(E2m1(0.25f), 0);
  EXPECT_EQ(E2m1(0.75f), 1);
  EXPECT_EQ(E2m1(2.5f), 2);
  EXPECT_EQ(E2m1(-3.5f), -4);
  EXPECT_EQ(E2m1(5), 4);
  EXPECT_EQ(E2m1(100), 6);
  EXPECT_EQ(RoundToE4m3(1e9f), 448);
  EXPECT_EQ(RoundToE4m3(17), 16);            // steps of 2 from 16 on
  EXPECT_EQ(RoundToE4m3(0.0009765625f), 0);  // half of the smallest, 2^-9
  EXPECT_EQ(E5m2(-1e9f), -57344);
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

// The definition: sign, exponent, mantissa; the smallest exponent's field is 1, and 0 is subnormal.
float ValueOf(uint32_t code, int exponent_bits, int mantissa_bits) {
  const uint32_t field = (code >> mantissa_bits) & ((1u << exponent_bits) - 1);
  const uint32_t mantissa = code & ((1u << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const uint32_t steps = field == 0 ? mantissa : mantissa + (1u << mantissa_bits);
  const int exponent = static_cast<int>(field == 0 ? 1 : field) - bias - mantissa_bits;
  const float magnitude = std::ldexp(static_cast<float>(steps), exponent);
  return code >> (exponent_bits + mantissa_bits) ? -magnitude : magnitude;
}

struct SmallFloat {
  int exponent_bits, mantissa_bits;
  uint32_t largest;  // the code of the largest number
  uint32_t (*code)(float);
  float (*value)(uint32_t);
};

TEST(SmallFloats, CodesAreTheBitPatternsOfTheirStandards) {
  EXPECT_EQ(E4m3Code(1), 0x38u);
  EXPECT_EQ(E4m3Code(-448), 0xfeu);
  EXPECT_EQ(E5m2Code(1), 0x3cu);
  EXPECT_EQ(E5m2Code(57344), 0x7bu);
  EXPECT_EQ(E2m1Code(-1.5f), 0xbu);
  EXPECT_EQ(E2m1Code(-0.0f), 0x8u);
  for (const SmallFloat& type :
       {SmallFloat{4, 3, 0x7e, E4m3Code, E4m3Value}, SmallFloat{5, 2, 0x7b, E5m2Code, E5m2Value},
        SmallFloat{2, 1, 0x7, E2m1Code, E2m1Value}}) {
    const uint32_t sign = 1u << (type.exponent_bits + type.mantissa_bits);
    for (uint32_t code = 0; code <= type.largest; ++code) {
      const float value = ValueOf(code, type.exponent_bits, type.mantissa_bits);
      ASSERT_EQ(type.value(code), value);
      ASSERT_EQ(type.value(code | sign), -value);
      ASSERT_EQ(type.code(value), code);
      ASSERT_EQ(type.code(-value), code | sign);
      if (code == type.largest) continue;
      // The middle goes to the even code, and everything beside it to the nearer one.
      const float next = ValueOf(code + 1, type.exponent_bits, type.mantissa_bits);
      const float middle = value / 2 + next / 2;
      ASSERT_EQ(type.code(middle), code + code % 2) << middle;
      ASSERT_EQ(type.code(std::nextafter(middle, 0.0f)), code) << middle;
      ASSERT_EQ(type.code(std::nextafter(middle, 1e9f)), code + 1) << middle;
    }
    for (const float x : {1e6f, 3e38f, std::numeric_limits<float>::infinity()}) {
      EXPECT_EQ(type.code(x), type.largest);
      EXPECT_EQ(type.code(-x), type.largest | sign);
    }
    EXPECT_EQ(type.code(1e-40f), 0u);
  }
}

TEST(SmallFloats, OnlyFp8StoresNotANumber) {
  EXPECT_TRUE(std::isnan(E4m3Value(E4m3Code(std::nanf("")))));
  EXPECT_TRUE(std::isnan(E5m2Value(E5m2Code(std::nanf("")))));
  EXPECT_TRUE(std::isinf(E5m2Value(0x7c)));
  EXPECT_EQ(std::abs(E2m1(std::nanf(""))), 6);
}

}  // namespace
}  // namespace kvtune
