#include "lib/io/quantized_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "tests/io/safetensors_builder.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsNull;
using ::testing::ThrowsMessage;

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

const std::string kHalf = BytesOf<uint16_t>({0x3800});  // 0.5 as F16

// A checkpoint of the tensors of one module "m".
class QuantizedMatrices : public ::testing::Test {
 protected:
  QuantizedMatrices() { WriteTinyCheckpoint({.layers = 1}, directory_.path()); }

  Checkpoint Write(const Json& settings, const std::vector<NamedTensor>& tensors) const {
    Json config = ReadJsonFile(directory_ / "config.json");
    config["quantization_config"] = settings;
    WriteJsonFileAtomically(directory_ / "config.json", config);
    WriteTensors(directory_ / "model.safetensors", tensors);
    return Checkpoint(directory_.path());
  }

  std::vector<float> Dequantized(const Json& settings, const std::vector<NamedTensor>& tensors,
                                 int64_t rows, int64_t columns) const {
    const Checkpoint checkpoint = Write(settings, tensors);
    const auto matrix = FindQuantizedMatrix(checkpoint, "m.weight", rows, columns);
    std::vector<float> values(static_cast<size_t>(rows * columns));
    matrix->Dequantize(0, rows, values.data());
    // In parts it is the same.
    std::vector<float> parts(values.size());
    for (int64_t row = 0; row < rows; ++row)
      matrix->Dequantize(row, 1, parts.data() + row * columns);
    matrix->DropPages();
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_TRUE(parts[i] == values[i] || (std::isnan(parts[i]) && std::isnan(values[i]))) << i;
    }
    return values;
  }

  auto Finding(const Json& settings, const std::vector<NamedTensor>& tensors, int64_t rows = 8,
               int64_t columns = 8) const {
    return [=, this] {
      const Checkpoint checkpoint = Write(settings, tensors);
      FindQuantizedMatrix(checkpoint, "m.weight", rows, columns);
    };
  }

  const Json fp8_ = {{"quant_method", "fp8"}};
  const Json awq_ = {{"quant_method", "awq"}, {"bits", 4}, {"group_size", -1}};
  const Json gptq_ = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 4}};

 private:
  TemporaryDirectory directory_;
};

// The table of the format (OCP 8-bit floating point, E4M3): every byte against its own reading.
TEST_F(QuantizedMatrices, EveryFloat8ValueIsDecoded) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  const auto values = Dequantized(fp8_,
                                  {{"m.weight", "F8_E4M3", {16, 16}, bytes},
                                   {"m.weight_scale_inv", "F32", {}, BytesOf<float>({1})}},
                                  16, 16);
  EXPECT_EQ(values[0x00], 0.0f);
  EXPECT_EQ(values[0x01], 0.001953125f);  // the smallest, 2^-9
  EXPECT_EQ(values[0x07], 0.013671875f);
  EXPECT_EQ(values[0x08], 0.015625f);  // the smallest normal, 2^-6
  EXPECT_EQ(values[0x38], 1.0f);
  EXPECT_EQ(values[0x3C], 1.5f);
  EXPECT_EQ(values[0x7E], 448.0f);  // the largest
  EXPECT_TRUE(std::isnan(values[0x7F]));
  EXPECT_TRUE(std::signbit(values[0x80]));
  EXPECT_EQ(values[0xFE], -448.0f);
  EXPECT_TRUE(std::isnan(values[0xFF]));
  for (size_t i = 1; i < 0x7F; ++i) EXPECT_GT(values[i], values[i - 1]) << i;
}

TEST_F(QuantizedMatrices, TheLastBlocksMayBeCut) {
  Json settings = fp8_;
  settings["weight_block_size"] = {2, 2};
  const auto values =
      Dequantized(settings,
                  {{"m.weight", "F8_E4M3", {3, 3}, std::string(9, 0x38)},
                   {"m.weight_scale_inv", "F32", {2, 2}, BytesOf<float>({1, 2, 3, 4})}},
                  3, 3);
  EXPECT_THAT(values, ElementsAre(1, 1, 2, 1, 1, 2, 3, 3, 4));
}

TEST_F(QuantizedMatrices, ScalesByOutputMayHaveEveryType) {
  const NamedTensor weight = {"m.weight", "F8_E4M3", {2, 2}, std::string(4, 0x38)};
  const std::vector<NamedTensor> scales = {
      {"m.weight_scale", "F32", {2}, BytesOf<float>({0.5f, 2.0f})},
      {"m.weight_scale", "F16", {2, 1}, BytesOf<uint16_t>({0x3800, 0x4000})},
      {"m.weight_scale", "BF16", {2, 1}, BytesOf<uint16_t>({0x3F00, 0x4000})},
      {"m.weight_scale", "F8_E8M0", {2, 1}, BytesOf<uint8_t>({126, 128})}};
  for (const NamedTensor& scale : scales) {
    EXPECT_THAT(Dequantized(fp8_, {weight, scale}, 2, 2), ElementsAre(0.5f, 0.5f, 2, 2))
        << scale.dtype;
  }
}

TEST_F(QuantizedMatrices, AScaleOfTheWholeMatrixMayHaveEveryShape) {
  const NamedTensor weight = {"m.weight", "F8_E4M3", {2, 2}, std::string(4, 0x38)};
  const std::vector<std::vector<int64_t>> shapes = {{}, {1}, {1, 1}};
  for (const std::vector<int64_t>& shape : shapes) {
    EXPECT_THAT(
        Dequantized(fp8_, {weight, {"m.weight_scale", "F32", shape, BytesOf<float>({3})}}, 2, 2),
        ElementsAre(3, 3, 3, 3))
        << shape.size();
  }
}

TEST_F(QuantizedMatrices, HalfScalesMayBeSmallNegativeOrNoNumber) {
  const NamedTensor weight = {"m.weight", "F8_E4M3", {5, 1}, std::string(5, 0x38)};  // ones
  const auto values = Dequantized(fp8_,
                                  {weight,
                                   {"m.weight_scale",
                                    "F16",
                                    {5, 1},
                                    BytesOf<uint16_t>({0x0001, 0x83FF, 0xBC00, 0xFC00, 0x7E00})}},
                                  5, 1);
  ASSERT_EQ(values.size(), 5u);
  EXPECT_EQ(values[0], 0x1p-24f);
  EXPECT_EQ(values[1], -1023 * 0x1p-24f);
  EXPECT_EQ(values[2], -1);
  EXPECT_EQ(values[3], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(values[4]));
}

TEST_F(QuantizedMatrices, AwqOrdersOutputsWithinAWord) {
  // From the lowest bits on: outputs 0 2 4 6 1 3 5 7. Output i holds the value i.
  const auto values = Dequantized(
      awq_,
      {{"m.qweight", "I32", {1, 1}, BytesOf<uint32_t>({0x75316420})},
       {"m.qzeros", "I32", {1, 1}, BytesOf<uint32_t>({0x11111111})},
       {"m.scales", "F16", {1, 8}, kHalf + kHalf + kHalf + kHalf + kHalf + kHalf + kHalf + kHalf}},
      8, 1);
  EXPECT_THAT(values, ElementsAre(-0.5f, 0, 0.5f, 1, 1.5f, 2, 2.5f, 3));
}

TEST_F(QuantizedMatrices, GptqPacksInputsAndStoresZeroPointsLessOne) {
  std::vector<float> scales(16, 1.0f);
  std::fill(scales.begin() + 8, scales.end(), 10.0f);  // of the second group
  std::vector<NamedTensor> tensors = {
      {"m.qweight", "I32", {1, 8}, BytesOf(std::vector<uint32_t>(8, 0x76543210))},
      {"m.qzeros",
       "I32",
       {2, 1},
       BytesOf<uint32_t>({0x00000000, 0xFFFFFFFF})},  // zero points 1 and 0
      {"m.scales", "F32", {2, 8}, BytesOf(scales)}};
  const auto row = [&](const Json& settings) {
    std::vector<float> values = Dequantized(settings, tensors, 8, 8);
    values.resize(8);
    return values;
  };
  EXPECT_THAT(row(gptq_), ElementsAre(-1, 0, 1, 2, 40, 50, 60, 70));
  Json second = gptq_;
  second["checkpoint_format"] = "gptq_v2";
  EXPECT_THAT(row(second), ElementsAre(0, 1, 2, 3, -110, -100, -90, -80));
  tensors.push_back({"m.g_idx", "I32", {8}, BytesOf<int32_t>({1, 0, 1, 0, 1, 0, 1, 0})});
  EXPECT_THAT(row(gptq_), ElementsAre(0, 0, 20, 2, 40, 4, 60, 6));
  tensors.back().bytes = BytesOf<int32_t>({1, 0, 1, 0, 1, 0, 2, 0});
  EXPECT_THAT(
      Finding(gptq_, tensors),
      ThrowsMessage<Error>(HasSubstr("tensor m.g_idx: found the group 2, expected 0 to 1")));
}

TEST_F(QuantizedMatrices, Mxfp4ExpertsAreDecoded) {
  const Json settings = {{"quant_method", "mxfp4"}};
  // Two experts of one row: every code in order, lower halves first, then in reverse.
  std::string blocks;
  for (int i = 0; i < 16; i += 2) blocks += static_cast<char>((i + 1) << 4 | i);
  blocks += blocks;
  std::string reversed(blocks.rbegin(), blocks.rend());
  for (char& pair : reversed) pair = static_cast<char>((pair & 15) << 4 | (pair >> 4 & 15));
  std::vector<NamedTensor> tensors = {
      {"m.up_blocks", "U8", {2, 1, 1, 16}, blocks + reversed},
      {"m.up_scales", "U8", {2, 1, 1}, BytesOf<uint8_t>({127, 129})}};
  const std::vector<float> codes = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                    -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  std::vector<float> expected = codes;
  expected.insert(expected.end(), codes.begin(), codes.end());
  for (int i = 0; i < 32; ++i) expected.push_back(4 * codes[static_cast<size_t>(15 - i % 16)]);

  const Checkpoint checkpoint = Write(settings, tensors);
  std::vector<float> values(64);
  const auto experts = FindQuantizedExperts(checkpoint, "m.up", 2, 1, 32);
  experts->Dequantize(0, 2, values.data());
  EXPECT_THAT(values, ElementsAreArray(expected));
  std::vector<float> second(32);
  experts->Dequantize(1, 1, second.data());
  EXPECT_THAT(second, ElementsAreArray(expected.begin() + 32, expected.end()));

  EXPECT_THAT([&] { FindQuantizedExperts(checkpoint, "m.up", 2, 2, 32); },
              ThrowsMessage<Error>(
                  HasSubstr("m.up_blocks: found the shape [2, 1, 1, 16], expected [2, 2, 1, 16]")));
  EXPECT_THAT([&] { FindQuantizedExperts(checkpoint, "m.up", 2, 1, 33); },
              ThrowsMessage<Error>(
                  HasSubstr("m.up_blocks: found rows of 33 values, expected a multiple of 32")));
  EXPECT_THAT([&] { FindQuantizedExperts(checkpoint, "m.down", 2, 1, 32); },
              ThrowsMessage<Error>(HasSubstr("found no tensor m.down_blocks, expected one")));
  tensors.push_back({"m.down", "F32", {1}, "1234"});
  EXPECT_THAT(FindQuantizedExperts(Write(settings, tensors), "m.down", 2, 1, 32), IsNull());
}

TEST_F(QuantizedMatrices, FloatsAreLeftToTheCheckpoint) {
  const std::vector<NamedTensor> tensors = {{"m.weight", "F32", {1, 1}, "1234"}};
  for (const Json& settings : {fp8_, awq_, gptq_}) {
    const Checkpoint checkpoint = Write(settings, tensors);
    EXPECT_THAT(FindQuantizedMatrix(checkpoint, "m.weight", 1, 1), IsNull());
    EXPECT_THAT(FindQuantizedMatrix(checkpoint, "m.bias", 1, 1), IsNull());
  }
}

TEST_F(QuantizedMatrices, IgnoredModulesHaveToBeFloats) {
  Json settings = fp8_;
  settings["modules_to_not_convert"] = {"m"};
  const Checkpoint checkpoint = Write(settings, {{"m.weight", "F8_E4M3", {1, 1}, "1"}});
  EXPECT_THAT(FindQuantizedMatrix(checkpoint, "m.weight", 1, 1), IsNull());
  EXPECT_THAT(
      [&] {
        checkpoint.Get("m.weight", {1, 1});
      },
      ThrowsMessage<Error>(
          HasSubstr("m.weight: found the type F8_E4M3, expected F32, F16 or BF16")));
}

TEST_F(QuantizedMatrices, MissingAndMisshapenPartsAreNamed) {
  EXPECT_THAT(Finding(awq_, {}),
              ThrowsMessage<Error>(
                  HasSubstr("found neither the tensor m.qweight nor m.weight, expected one")));
  const NamedTensor weight = {"m.qweight", "I32", {8, 1}, std::string(32, 'x')};
  EXPECT_THAT(Finding(awq_, {weight}),
              ThrowsMessage<Error>(HasSubstr("found no tensor m.scales, expected one")));
  EXPECT_THAT(
      Finding(gptq_, {weight}),
      ThrowsMessage<Error>(HasSubstr("tensor m.qweight: found the shape [8, 1], expected [1, 8]")));
  EXPECT_THAT(
      Finding(awq_, {{"m.qweight", "F32", {8, 1}, std::string(32, 'x')}}),
      ThrowsMessage<Error>(HasSubstr("tensor m.qweight: found the type F32, expected I32")));
  EXPECT_THAT(Finding(awq_, {weight}, 9, 8),
              ThrowsMessage<Error>(HasSubstr(
                  "m.qweight: found a matrix [9, 8], expected sizes that are multiples of 8")));
  EXPECT_THAT(
      Finding(awq_, {weight, {"m.scales", "F16", {1, 4}, std::string(8, 'x')}}),
      ThrowsMessage<Error>(HasSubstr("tensor m.scales: found the shape [1, 4], expected [1, 8]")));
  const NamedTensor bytes = {"m.weight", "F8_E4M3", {8, 8}, std::string(64, 'x')};
  EXPECT_THAT(Finding(fp8_, {bytes}),
              ThrowsMessage<Error>(HasSubstr("found no tensor m.weight_scale, expected one")));
  Json blocks = fp8_;
  blocks["weight_block_size"] = {4, 4};
  EXPECT_THAT(
      Finding(blocks, {bytes, {"m.weight_scale_inv", "F32", {1}, "1234"}}),
      ThrowsMessage<Error>(HasSubstr("m.weight_scale_inv: found the shape [1], expected [2, 2]")));
}

TEST_F(QuantizedMatrices, ScalesOfHalfPrecisionAreEveryNumberThatItHas) {
  const std::vector<std::pair<uint16_t, float>> halves = {{0x0000, 0.0f},
                                                          {0x0001, std::ldexp(1.0f, -24)},
                                                          {0x03FF, std::ldexp(1023.0f, -24)},
                                                          {0x0400, std::ldexp(1.0f, -14)},
                                                          {0x3C01, 1 + std::ldexp(1.0f, -10)},
                                                          {0x7BFF, 65504.0f},
                                                          {0x7C00, INFINITY},
                                                          {0x8001, -std::ldexp(1.0f, -24)},
                                                          {0xC000, -2.0f},
                                                          {0xFC00, -INFINITY}};
  std::vector<uint16_t> bits = {0x7E00, 0x7C01};
  for (const auto& [half, value] : halves) bits.push_back(half);
  const auto rows = static_cast<int64_t>(bits.size());
  const auto values =
      Dequantized(fp8_,
                  {{"m.weight", "F8_E4M3", {rows, 1}, std::string(bits.size(), 0x38)},
                   {"m.weight_scale", "F16", {rows, 1}, BytesOf(bits)}},
                  rows, 1);
  EXPECT_TRUE(std::isnan(values[0]));
  EXPECT_TRUE(std::isnan(values[1]));
  for (size_t i = 0; i < halves.size(); ++i) EXPECT_EQ(values[i + 2], halves[i].second) << i;
}

TEST_F(QuantizedMatrices, BytesAreSignedIntegersInGroupsOfTheirRows) {
  const Json settings = {
      {"quant_method", "compressed-tensors"},
      {"format", "int-quantized"},
      {"config_groups",
       {{"group_0",
         {{"weights",
           {{"num_bits", 8}, {"type", "int"}, {"strategy", "group"}, {"group_size", 2}}}}}}}};
  const auto values =
      Dequantized(settings,
                  {{"m.weight", "I8", {2, 3}, BytesOf<int8_t>({-128, 127, -1, 1, 2, 3})},
                   {"m.weight_scale", "F32", {2, 2}, BytesOf<float>({1, 10, 100, 1000})}},
                  2, 3);
  EXPECT_THAT(values, ElementsAre(-128, 127, -10, 100, 200, 3000));
}

// A matrix of codes with a scale and a zero point for each output and group of inputs. Its sizes
// are no multiples of the tiles in which it is decoded.
struct WordsOfCodes {
  static constexpr size_t kRows = 72, kColumns = 40, kGroup = 16, kGroups = 3;

  explicit WordsOfCodes(int width) : bits(width), per_word(32 / static_cast<size_t>(width)) {
    Random random(static_cast<uint64_t>(width));
    const auto draw = [&](std::vector<uint32_t>& drawn, size_t count) {
      while (drawn.size() < count)
        drawn.push_back(static_cast<uint32_t>(random.Below(uint64_t{1} << width)));
    };
    draw(codes, kRows * kColumns);
    draw(zeros, kGroups * kRows);
    while (scales.size() < kGroups * kRows)
      scales.push_back(static_cast<float>(1 + random.Below(9)));
  }

  // Words of a table of `rows` x `columns` values, packed along its columns.
  template <typename Place>
  std::string Packed(size_t rows, size_t columns, const Place& place,
                     const std::function<uint32_t(size_t, size_t)>& value) const {
    std::vector<uint32_t> words(rows * ((columns + per_word - 1) / per_word));
    for (size_t row = 0; row < rows; ++row) {
      for (size_t column = 0; column < columns; ++column) {
        words[row * ((columns + per_word - 1) / per_word) + column / per_word] |=
            value(row, column) << (bits * place(column % per_word));
      }
    }
    return BytesOf(words);
  }

  std::vector<float> Expected(const std::function<uint32_t(size_t)>& zero) const {
    std::vector<float> values;
    for (size_t row = 0; row < kRows; ++row) {
      for (size_t column = 0; column < kColumns; ++column) {
        const size_t factor = column / kGroup * kRows + row;
        values.push_back((static_cast<float>(codes[row * kColumns + column]) -
                          static_cast<float>(zero(factor))) *
                         scales[factor]);
      }
    }
    return values;
  }

  uint32_t mask() const { return (1u << bits) - 1; }

  int bits;
  size_t per_word;
  std::vector<uint32_t> codes;  // [rows, columns]
  std::vector<uint32_t> zeros;  // [groups, rows]
  std::vector<float> scales;    // [groups, rows]
};

int InOrder(size_t place) { return static_cast<int>(place); }

TEST_F(QuantizedMatrices, AwqOfAnySizeIsCodesLessZerosTimesScales) {
  const WordsOfCodes matrix(4);
  const auto place = [](size_t output) { return std::vector<int>{0, 4, 1, 5, 2, 6, 3, 7}[output]; };
  const auto rows = static_cast<int64_t>(matrix.kRows), columns = int64_t{matrix.kColumns};
  Json settings = awq_;
  settings["group_size"] = 16;
  const std::vector<NamedTensor> tensors = {
      {"m.qweight",
       "I32",
       {columns, rows / 8},
       matrix.Packed(matrix.kColumns, matrix.kRows, place,
                     [&](size_t column, size_t row) {
                       return matrix.codes[row * matrix.kColumns + column];
                     })},
      {"m.qzeros",
       "I32",
       {3, rows / 8},
       matrix.Packed(
           3, matrix.kRows, place,
           [&](size_t group, size_t row) { return matrix.zeros[group * matrix.kRows + row]; })},
      {"m.scales", "F32", {3, rows}, BytesOf(matrix.scales)}};
  EXPECT_EQ(Dequantized(settings, tensors, rows, columns),
            matrix.Expected([&](size_t factor) { return matrix.zeros[factor]; }));
}

TEST_F(QuantizedMatrices, GptqOfAnySizeIsCodesLessZerosTimesScales) {
  for (const int bits : {4, 8}) {
    const WordsOfCodes matrix(bits);
    const auto rows = int64_t{matrix.kRows}, columns = int64_t{matrix.kColumns},
               per_word = static_cast<int64_t>(matrix.per_word);
    // Words hold inputs of one output here: a table of outputs and words is turned.
    std::vector<uint32_t> words(matrix.kRows * matrix.kColumns / matrix.per_word);
    for (size_t row = 0; row < matrix.kRows; ++row) {
      for (size_t column = 0; column < matrix.kColumns; ++column) {
        words[column / matrix.per_word * matrix.kRows + row] |=
            matrix.codes[row * matrix.kColumns + column]
            << (bits * static_cast<int>(column % matrix.per_word));
      }
    }
    const std::vector<NamedTensor> tensors = {
        {"m.qweight", "I32", {columns / per_word, rows}, BytesOf(words)},
        {"m.qzeros",
         "I32",
         {3, rows / per_word},
         matrix.Packed(3, matrix.kRows, InOrder,
                       [&](size_t group, size_t row) {
                         return (matrix.zeros[group * matrix.kRows + row] - 1) & matrix.mask();
                       })},
        {"m.scales", "F32", {3, rows}, BytesOf(matrix.scales)}};
    const Json settings = {{"quant_method", "gptq"}, {"bits", bits}, {"group_size", 16}};
    EXPECT_EQ(Dequantized(settings, tensors, rows, columns), matrix.Expected([&](size_t factor) {
      return matrix.zeros[factor];
    })) << bits;
  }
}

TEST_F(QuantizedMatrices, PackedOfAnySizeIsCodesLessZerosTimesScales) {
  const WordsOfCodes matrix(4);
  const auto rows = int64_t{matrix.kRows}, columns = int64_t{matrix.kColumns};
  std::vector<float> scales_by_row;
  for (size_t row = 0; row < matrix.kRows; ++row) {
    for (size_t group = 0; group < 3; ++group)
      scales_by_row.push_back(matrix.scales[group * matrix.kRows + row]);
  }
  // Zero points are packed along the outputs, in words beside those of the other groups.
  std::vector<uint32_t> zeros(matrix.kRows / 8 * 3);
  for (size_t row = 0; row < matrix.kRows; ++row) {
    for (size_t group = 0; group < 3; ++group)
      zeros[row / 8 * 3 + group] |= matrix.zeros[group * matrix.kRows + row] << (4 * (row % 8));
  }
  std::vector<NamedTensor> tensors = {
      {"m.weight_packed",
       "I32",
       {rows, columns / 8},
       matrix.Packed(matrix.kRows, matrix.kColumns, InOrder,
                     [&](size_t row, size_t column) {
                       return matrix.codes[row * matrix.kColumns + column];
                     })},
      {"m.weight_scale", "F32", {rows, 3}, BytesOf(scales_by_row)}};
  const auto settings = [](bool symmetric) {
    return Json{{"quant_method", "compressed-tensors"},
                {"format", "pack-quantized"},
                {"config_groups",
                 {{"group_0",
                   {{"weights",
                     {{"num_bits", 4},
                      {"type", "int"},
                      {"strategy", "group"},
                      {"group_size", 16},
                      {"symmetric", symmetric}}}}}}}};
  };
  EXPECT_EQ(Dequantized(settings(true), tensors, rows, columns),
            matrix.Expected([](size_t) { return 8u; }));
  tensors.push_back({"m.weight_zero_point", "I32", {rows / 8, 3}, BytesOf(zeros)});
  EXPECT_EQ(Dequantized(settings(false), tensors, rows, columns),
            matrix.Expected([&](size_t factor) { return matrix.zeros[factor]; }));
}

}  // namespace
}  // namespace kvtune
