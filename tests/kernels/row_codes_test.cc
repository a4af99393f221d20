// Codes and parameters of every format: what is stored, and that nothing else is needed to read it.
#include "lib/kernels/row_codes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "lib/kernels/lloyd_max.h"
#include "lib/kernels/row_quantizers.h"

namespace kvtune {
namespace {

using Values = std::vector<float>;
using CodeList = std::vector<uint32_t>;

// Codes beside their row, as a cache keeps them.
struct CodesBeside {
  uint32_t* data;
  uint32_t Get(int64_t i) const { return data[i]; }
  void Set(int64_t i, uint32_t code) const { data[i] = code; }
};

struct Stored {
  CodeList codes;
  RowParameters parameters;
};

Row RowOf(Values& x) { return {x.data(), static_cast<int64_t>(x.size()), 1}; }

Stored Encoded(Values x, const RowArithmetic& arithmetic) {
  Stored stored{CodeList(x.size(), ~0u), {}};
  const Values before = x;
  stored.parameters = EncodeRow(RowOf(x), arithmetic, CodesBeside{stored.codes.data()});
  EXPECT_EQ(std::memcmp(x.data(), before.data(), x.size() * sizeof(float)), 0) << "x was written";
  return stored;
}

Values Decoded(Stored stored, const RowArithmetic& arithmetic) {
  Values x(stored.codes.size(), -1e30f);
  DecodeRow(CodesBeside{stored.codes.data()}, stored.parameters, arithmetic, RowOf(x));
  return x;
}

struct NamedArithmetic {
  std::string name;
  RowArithmetic row;
};

// Of every format, and the one arithmetic that no format of the table has.
std::vector<NamedArithmetic> AllArithmetics(int64_t size) {
  std::vector<NamedArithmetic> all;
  for (const KvFormat& format : Formats())
    all.push_back({std::string(format.name), {format.numerics, format.bits}});
  for (const int bits : {2, 4, 8})
    all.push_back({"symmetric", {Numerics::kKvtunerSymmetric, bits}});
  for (NamedArithmetic& arithmetic : all) {
    if (arithmetic.row.numerics == Numerics::kTurboquantKey)
      arithmetic.row.levels = LloydMaxLevels(size, arithmetic.row.bits).data();
  }
  return all;
}

// Rows that are common, and rows that are easy to get wrong.
std::vector<Values> Rows(int64_t size) {
  Random random(17);
  const auto unit = [&] { return static_cast<float>(random.Unit() * 2 - 1); };
  const auto made = [&](auto&& element) {
    Values row(static_cast<size_t>(size));
    for (float& x : row) x = element();
    return row;
  };
  std::vector<Values> rows;
  for (const float factor : {1.0f, 0.2f, 30.0f, 1e-6f, 1e-39f, 1e30f})
    rows.push_back(made([&] { return unit() * factor; }));
  rows.push_back(made([&] { return std::abs(unit()) + 0.1f; }));   // one sign
  rows.push_back(made([&] { return -std::abs(unit()) - 0.1f; }));  // the other
  rows.push_back(made([&] { return 1000 + unit() * 1e-3f; }));     // a range of a few float32 steps
  rows.push_back(made([&] { return std::round(unit() * 12) / 2; }));  // many ties
  rows.push_back(made(unit));
  rows.back()[3] = -500;  // an outlier
  for (const float value : {0.0f, -0.0f, 1e-40f, -0.1f, 300.0f, -70000.0f})
    rows.push_back(made([&] { return value; }));
  return rows;
}

bool IsStorable(float x, ParameterType type) {
  switch (type) {
    case ParameterType::kNone:
      return BitsOf(x) == 0;
    case ParameterType::kModel:
    case ParameterType::kFloat:
      return true;
    case ParameterType::kHalf:
      return RoundToHalf(x) == x || std::isnan(x);
    case ParameterType::kE4m3:
      return E4m3Value(E4m3Code(x)) == x;
    case ParameterType::kE8m0:
      return Exponent(x) >= -127 && x == PowerOfTwo(Exponent(x));
  }
  return false;
}

int BitsOfType(ParameterType type) {
  switch (type) {
    case ParameterType::kNone:
      return 0;
    case ParameterType::kModel:
    case ParameterType::kHalf:
      return 16;
    case ParameterType::kFloat:
      return 32;
    case ParameterType::kE4m3:
    case ParameterType::kE8m0:
      return 8;
  }
  return 0;
}

TEST(RowCodes, DecodingWhatWasEncodedIsTheRoundTrip) {
  for (const int64_t size : {32, 20, 128}) {
    for (const NamedArithmetic& named : AllArithmetics(size)) {
      for (const float scale : {1.0f, 0.37f}) {
        RowArithmetic arithmetic = named.row;
        arithmetic.scale = scale;
        for (Values row : Rows(size)) {
          const Values decoded = Decoded(Encoded(row, arithmetic), arithmetic);
          const float first = row[0];
          RoundTripRow(RowOf(row), arithmetic);
          ASSERT_EQ(std::memcmp(decoded.data(), row.data(), row.size() * sizeof(float)), 0)
              << named.name << ", a row of " << size << " that starts with " << first;
        }
      }
    }
  }
}

TEST(RowCodes, FitInTheBitsOfTheFormat) {
  for (const NamedArithmetic& named : AllArithmetics(64)) {
    if (named.row.numerics == Numerics::kExact) continue;  // codes are float32's bits
    const int bits = named.row.bits;
    CodeList seen(size_t{1} << bits, 0);
    for (const Values& row : Rows(64)) {
      for (const uint32_t code : Encoded(row, named.row).codes) {
        ASSERT_LT(code, 1u << bits) << named.name;
        seen[code] = 1;
      }
    }
    // Unused codes: of symmetric integers the most negative one; of FP8 "not a number".
    if (bits > 4) continue;
    EXPECT_GE(std::ranges::count(seen, 1u), (1 << bits) - 1) << named.name;
  }
}

TEST(RowCodes, ParametersAreNumbersOfTheTypeThatIsStored) {
  for (const NamedArithmetic& named : AllArithmetics(64)) {
    const ParameterTypes types = ParameterTypesOf(named.row.numerics);
    for (const float scale : {1.0f, 0.37f}) {
      RowArithmetic arithmetic = named.row;
      arithmetic.scale = scale;
      for (const Values& row : Rows(64)) {
        const RowParameters parameters = Encoded(row, arithmetic).parameters;
        EXPECT_TRUE(IsStorable(parameters.scale, types.scale))
            << named.name << " " << parameters.scale;
        EXPECT_TRUE(IsStorable(parameters.offset, types.offset))
            << named.name << " " << parameters.offset;
      }
    }
  }
}

TEST(RowCodes, ParametersTakeTheBitsThatTheFormatTableCounts) {
  for (const KvFormat& format : Formats()) {
    const ParameterTypes types = ParameterTypesOf(format.numerics);
    EXPECT_EQ(BitsOfType(types.scale) + BitsOfType(types.offset), format.metadata_bits_per_row)
        << format.name;
  }
}

void ExpectStored(const Values& row, const RowArithmetic& arithmetic, const CodeList& codes,
                  float scale, float offset = 0) {
  const Stored stored = Encoded(row, arithmetic);
  const int numerics = static_cast<int>(arithmetic.numerics);
  EXPECT_EQ(stored.codes, codes) << numerics;
  EXPECT_EQ(stored.parameters.scale, scale) << numerics;
  EXPECT_EQ(stored.parameters.offset, offset) << numerics;
}

TEST(RowCodes, ByHand) {
  ExpectStored({1.5f, -0.0f}, {Numerics::kExact}, {0x3fc00000, 0x80000000}, 0);
  // Levels -2..1 in two's complement; scale 1, zero 0 + 2.
  ExpectStored({0, 1, 2, 3}, {Numerics::kKvtunerAsymmetric, 2}, {2, 3, 0, 1}, 1, 2);
  ExpectStored({-7, 0, 2, 7}, {Numerics::kKvtunerSymmetric, 4}, {9, 0, 2, 7}, 1);
  ExpectStored({127, 1.9f, -1.9f}, {Numerics::kVllmInt8, 8}, {127, 1, 255}, 1);
  ExpectStored({448, -1}, {Numerics::kVllmFp8, 8}, {0x7e, 0xb8}, 1);
  // Zero 5 lies in the low bits of the scale, 1.
  ExpectStored({-5, 10, 0}, {Numerics::kVllmInt4, 4}, {0, 15, 5}, FromBits(0x3f800005));
  const float levels[] = {-0.8f, -0.2f, 0.2f, 0.8f};
  ExpectStored({-0.9f, 0, 0.1f, 0.5f}, {Numerics::kTurboquantKey, 2, 2049.5f, levels}, {0, 2, 2, 3},
               2050);
  ExpectStored({-0.5f, 14.5f, 1.2f}, {Numerics::kTurboquantValue, 4}, {0, 15, 2}, 1, -0.5f);
  ExpectStored({2, -0.5f}, {Numerics::kFp8E4m3, 8, 2}, {0x38, 0xa8}, 0);
  ExpectStored({2, -0.5f}, {Numerics::kFp8E5m2, 8, 2}, {0x3c, 0xb4}, 0);
  // The block's own scale is 1 / 2, times the global one.
  ExpectStored({6, -1.5f, 0}, {Numerics::kNvfp4, 4, 2}, {7, 11, 0}, 0.5f);
  ExpectStored({7, -1}, {Numerics::kMxfp4, 4}, {7, 10}, 1);
  ExpectStored({7, -2.5f}, {Numerics::kSglangFp4, 4}, {6, 11}, 2);
  ExpectStored({-0.5f, 14.5f, 1.2f}, {Numerics::kLmdeploy, 4}, {0, 15, 2}, 1, 0.5f);
  ExpectStored({-3, -3}, {Numerics::kLmdeploy, 4}, {0, 0}, -3, -1);
  ExpectStored({127, 0.5f, -1}, {Numerics::kGgmlQ8_0, 8}, {127, 1, 255}, 1);
  ExpectStored({-8, 7, 0.4f}, {Numerics::kGgmlQ4_0, 4}, {0, 15, 8}, 1);
  ExpectStored({8, -7}, {Numerics::kGgmlQ4_0, 4}, {0, 15}, -1);
  ExpectStored({-16, 15}, {Numerics::kGgmlQ5_0, 5}, {0, 31}, 1);
  ExpectStored({1, 16, 3.4f}, {Numerics::kGgmlQ4_1, 4}, {0, 15, 2}, 1, 1);
  ExpectStored({1, 32, 3.4f}, {Numerics::kGgmlQ5_1, 5}, {0, 31, 2}, 1, 1);
  ExpectStored({-32, 31, 0, 8}, {Numerics::kGgmlQ6_0, 6}, {0, 63, 32, 40}, 1);
  ExpectStored({-127, 113, 1, -22}, {Numerics::kGgmlIq4Nl, 4}, {0, 15, 8, 6}, 1);
  ExpectStored({0, 3, 1.4f}, {Numerics::kMlxAffine, 2}, {3, 0, 2}, -1, 3);
  ExpectStored({-1, 2, 0.6f}, {Numerics::kQuanto, 2}, {0, 3, 2}, 1, 1);
  ExpectStored({1, -1, 0.1f}, {Numerics::kExllama, 2}, {3, 0, 2}, 1);
}

TEST(RowCodes, HqqStoresTheInverseOfItsScaleAndAZeroThatIsNotWhole) {
  // scale = 3 / 6. Levels 0..3 hit the elements exactly, so that the first zero stays.
  ExpectStored({0, 2, 4, 6}, {Numerics::kHqq, 2}, {0, 1, 2, 3}, 2, 0);
  // Shifted by half a level, the zero follows.
  ExpectStored({-1, 1, 3, 5}, {Numerics::kHqq, 2}, {0, 1, 2, 3}, 2, 0.5f);
}

TEST(RowCodes, ARowMayBeSpread) {
  const RowArithmetic arithmetic{Numerics::kGgmlQ5_1, 5};
  Values dense = Rows(32)[0], spread(32 * 3);
  for (size_t i = 0; i < 32; ++i) spread[i * 3] = dense[i];
  const Row row{spread.data(), 32, 3};
  CodeList codes(32);
  const Stored expected = Encoded(dense, arithmetic);
  const RowParameters parameters = EncodeRow(row, arithmetic, CodesBeside{codes.data()});
  EXPECT_EQ(codes, expected.codes);
  EXPECT_EQ(parameters.scale, expected.parameters.scale);
  DecodeRow(CodesBeside{codes.data()}, parameters, arithmetic, row);
  RoundTripRow(RowOf(dense), arithmetic);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(spread[i * 3], dense[i]);
  for (size_t i = 0; i < spread.size(); ++i) {
    if (i % 3 == 0) continue;
    EXPECT_EQ(spread[i], 0) << "what lies between was written";
  }
}

TEST(RowCodes, NotANumberIsTheLowestLevelOfAnInteger) {
  const float nan = std::nanf("");
  EXPECT_EQ(Encoded({127, nan}, {Numerics::kVllmInt8, 8}).codes, (CodeList{127, 0x80}));
  EXPECT_EQ(Encoded({1, 16, nan}, {Numerics::kGgmlQ4_1, 4}).codes, (CodeList{0, 15, 0}));
}

}  // namespace
}  // namespace kvtune
