#include "lib/io/quantized_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lib/base/error.h"
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
  FindQuantizedExperts(checkpoint, "m.up", 2, 1, 32)->Dequantize(0, 2, values.data());
  EXPECT_THAT(values, ElementsAreArray(expected));

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

}  // namespace
}  // namespace kvtune
