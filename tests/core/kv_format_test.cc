#include "lib/core/kv_format.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/file.h"

namespace kvtune {
namespace {

TEST(KvFormat, TableIsIndexedByIdAndNamesAreDistinct) {
  for (size_t i = 0; i < Formats().size(); ++i) {
    const auto id = static_cast<KvFormatId>(i);
    EXPECT_EQ(FormatOf(id).id, id);
    EXPECT_EQ(FindFormat(FormatOf(id).name), id);
    EXPECT_EQ(FormatOf(id).is_exact(), FormatOf(id).numerics == Numerics::kExact);
    EXPECT_FALSE(FormatOf(id).label.empty());
  }
  EXPECT_EQ(FormatOf(KvFormatId::kExact).name, "exact");
  EXPECT_EQ(FindFormat("int3"), std::nullopt);
  EXPECT_EQ(FindFormat(""), std::nullopt);
}

TEST(KvFormat, StaticScalesCostNoBitsAndWindowsHoldWholeGroups) {
  for (const KvFormat& format : Formats()) {
    for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
      const QuantLayout& layout = format.layout(side);
      if (layout.axis == QuantAxis::kPerTensor) {
        EXPECT_NE(format.scale, ScaleKind::kOfRow) << format.name;
        EXPECT_EQ(EffectiveBits(format, side, 128), format.bits) << format.name;
      }
      if (layout.axis == QuantAxis::kPerChannel) {
        EXPECT_EQ(format.residual_window_tokens % layout.group_size, 0) << format.name;
      }
    }
  }
}

// KIVI's cache and the quantized layers of transformers; all others quantize every token.
TEST(KvFormat, WindowsAreThoseOfTheEngines) {
  for (const KvFormat& format : Formats()) {
    const int expected = format.name.starts_with("kivi_") ? 32
                         : format.name.starts_with("hqq_") || format.name.starts_with("quanto")
                             ? 128
                             : 0;
    EXPECT_EQ(format.residual_window_tokens, expected) << format.name;
  }
}

TEST(KvFormat, StaticScalesAreNotStoredWithARow) {
  for (const KvFormat& format : Formats()) {
    const bool is_static = format.key_layout.axis == QuantAxis::kPerTensor;
    EXPECT_EQ(format.metadata_bits_per_row == 0, is_static || format.is_exact()) << format.name;
    if (is_static) {
      EXPECT_EQ(format.key_layout.group_size, 0) << format.name;
    }
    EXPECT_EQ(format.key_layout.axis == QuantAxis::kPerTensor,
              format.value_layout.axis == QuantAxis::kPerTensor)
        << format.name;
  }
}

TEST(KvFormat, EffectiveBitsCountScalesAndZeros) {
  // 16-bit scale and zero a row: of 128 channels, or of 32 elements.
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kInt4), KvSide::kKey, 128), 4.25);
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kInt8), KvSide::kValue, 64), 8.5);
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kKiviInt2), KvSide::kKey, 128), 3);
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kKiviInt2), KvSide::kValue, 128), 3);
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kExact), KvSide::kKey, 128), 16);
}

// The column "effective bits" of the engines' documentation, head_dim 128.
TEST(KvFormat, EffectiveBitsAreTheEngines) {
  const auto bits = [](const char* name) {
    return EffectiveBits(FormatOf(*FindFormat(name)), KvSide::kKey, 128);
  };
  const std::pair<const char*, double> expected[] = {{"fp8_e4m3", 8},
                                                     {"int8_per_token_head", 8.25},
                                                     {"fp8_per_token_head", 8.25},
                                                     {"int4_per_token_head", 4.25},
                                                     {"tq_k4", 4.125},
                                                     {"tq_k3", 3.125},
                                                     {"tq_v4", 4.25},
                                                     {"tq_v3", 3.25},
                                                     {"nvfp4", 4.5},
                                                     {"mxfp4", 4.25},
                                                     {"fp4_e2m1", 4.5},
                                                     {"lmdeploy_int4", 4.25},
                                                     {"q8_0", 8.5},
                                                     {"q5_1", 6},
                                                     {"q5_0", 5.5},
                                                     {"q4_1", 5},
                                                     {"q4_0", 4.5},
                                                     {"iq4_nl", 4.5},
                                                     {"ik_q6_0", 6.5},
                                                     {"mlx_int3", 3.5},
                                                     {"hqq_int4", 4.5},
                                                     {"quanto_int2", 2.5},
                                                     {"exl3_int5", 5.5}};
  for (const auto& [name, effective] : expected) EXPECT_DOUBLE_EQ(bits(name), effective) << name;
}

// As scripts/oracles/quantizer_parity.py writes them.
std::string BitsText(const KvFormat& format, int64_t head_dim) {
  const auto text = [&](KvSide side) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.5g", EffectiveBits(format, side, head_dim));
    return std::string(digits);
  };
  const std::string key = text(KvSide::kKey), value = text(KvSide::kValue);
  return key == value ? key : key + " / " + value;
}

TEST(KvFormat, TableOfTheDocumentIsCurrent) {
  std::istringstream document(ReadFile(KVTUNE_SOURCE_DIR "/docs/targets.md"));
  std::string line;
  while (std::getline(document, line) && line != "<!-- formats: begin -->") {
  }
  std::vector<std::string> found, expected;
  while (std::getline(document, line) && line != "<!-- formats: end -->") {
    if (line.starts_with("| `"))
      found.push_back(
          line.substr(0, line.find('|', line.find('|', line.find('|', 1) + 1) + 1) + 1));
  }
  for (const KvFormat& format : Formats()) {
    if (format.is_exact()) continue;
    expected.push_back("| `" + std::string(format.name) + "` | " + BitsText(format, 64) + " | " +
                       BitsText(format, 128) + " |");
  }
  EXPECT_EQ(found, expected);
}

TEST(KvFormat, HeadsThatDoNotFillABlockAreNotRotated) {
  const KvFormat& q4_0 = FormatOf(KvFormatId::kQ4_0);
  EXPECT_EQ(RotationBlock(q4_0.key_layout, 128), 128);
  EXPECT_EQ(RotationBlock(q4_0.value_layout, 128), 64);
  EXPECT_EQ(RotationBlock(q4_0.key_layout, 192), 64);
  EXPECT_EQ(RotationBlock(q4_0.key_layout, 96), 0);
  EXPECT_EQ(RotationBlock(FormatOf(KvFormatId::kIkQ4_0).key_layout, 128), 0);
  EXPECT_EQ(RotationBlock(FormatOf(KvFormatId::kExllamaInt4).key_layout, 96), 32);
}

TEST(KvFormat, RowsThatDoNotFillAGroupStillHaveAScale) {
  // 40 channels in groups of 32 are two rows a token.
  EXPECT_DOUBLE_EQ(EffectiveBits(FormatOf(KvFormatId::kKiviInt4), KvSide::kValue, 40),
                   4 + 2 * 32 / 40.0);
}

TEST(KvFormat, NamesAreListedWithCommas) { EXPECT_EQ(FormatNames().substr(0, 12), "exact, int8,"); }

// The largest number of E5M2 is 57344 and that of E4M3 448. A side that is nothing has no scale of
// its own.
TEST(KvFormat, CalibratedScalesBringTheLargestNumberToTheFormatsOwn) {
  EXPECT_EQ(CalibratedScale(FormatOf(KvFormatId::kFp8E5m2), 2 * 57344.0F), 2);
  EXPECT_EQ(CalibratedScale(FormatOf(KvFormatId::kFp8E4m3), 2 * 448.0F), 2);
  for (const KvFormatId id : {KvFormatId::kFp8E5m2, KvFormatId::kFp8E4m3}) {
    EXPECT_EQ(CalibratedScale(FormatOf(id), 0), 1);
    EXPECT_EQ(CalibratedScale(FormatOf(id), -1), 1);
  }
}

}  // namespace
}  // namespace kvtune
