// Weights in words of 32 bits that are unpacked on CUDA against those that are unpacked on the CPU,
// bit by bit.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/runner/tensor_reader.h"
#include "tests/io/safetensors_builder.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

struct WeightsCase {
  std::string method;
  int bits;
  int64_t rows, columns, group;
  bool symmetric = false;
};

std::string RandomWords(Random& random, int64_t count) {
  std::string bytes;
  for (int64_t i = 0; i < 4 * count; ++i) bytes += static_cast<char>(random.Below(256));
  return bytes;
}

std::string RandomScales(Random& random, int64_t count) {
  std::vector<float> scales;
  for (int64_t i = 0; i < count; ++i)
    scales.push_back(0.001f + static_cast<float>(random.Below(1000)) * 1e-5f);
  return {reinterpret_cast<const char*>(scales.data()), scales.size() * sizeof(float)};
}

// A checkpoint with one matrix "m".
Checkpoint Written(const WeightsCase& c, const TemporaryDirectory& directory) {
  WriteTinyCheckpoint({.layers = 1}, directory.path());
  Random random(static_cast<uint64_t>(c.rows + c.columns + c.bits));
  const int64_t n = 32 / c.bits, groups = (c.columns + c.group - 1) / c.group;
  Json settings = {{"quant_method", c.method}, {"bits", c.bits}, {"group_size", c.group}};
  std::vector<NamedTensor> tensors;
  const auto words = [&](const std::string& name, int64_t first, int64_t second) {
    tensors.push_back({name, "I32", {first, second}, RandomWords(random, first * second)});
  };
  if (c.method == "compressed-tensors") {
    settings = {{"quant_method", c.method},
                {"format", "pack-quantized"},
                {"config_groups",
                 {{"group_0",
                   {{"targets", {"Linear"}},
                    {"weights",
                     {{"num_bits", c.bits},
                      {"group_size", c.group},
                      {"strategy", "group"},
                      {"symmetric", c.symmetric},
                      {"type", "int"}}}}}}}};
    words("m.weight_packed", c.rows, c.columns / n);
    if (!c.symmetric) words("m.weight_zero_point", (c.rows + n - 1) / n, groups);
    tensors.push_back(
        {"m.weight_scale", "F32", {c.rows, groups}, RandomScales(random, c.rows * groups)});
  } else {
    if (c.method == "awq") {
      words("m.qweight", c.columns, c.rows / n);
    } else {
      words("m.qweight", c.columns / n, c.rows);
    }
    words("m.qzeros", groups, c.rows / n);
    tensors.push_back({"m.scales", "F32", {groups, c.rows}, RandomScales(random, c.rows * groups)});
  }
  Json config = ReadJsonFile(directory / "config.json");
  config["quantization_config"] = settings;
  WriteJsonFileAtomically(directory / "config.json", config);
  WriteTensors(directory / "model.safetensors", tensors);
  return Checkpoint(directory.path());
}

TEST(PackedWeights, AreUnpackedOnCudaAsOnACpu) {
  for (const WeightsCase& c :
       {WeightsCase{"awq", 4, 8, 16, 16}, WeightsCase{"awq", 4, 200, 136, 32},
        WeightsCase{"gptq", 4, 136, 200, 64}, WeightsCase{"gptq", 8, 132, 68, 32},
        WeightsCase{"compressed-tensors", 4, 70, 200, 64},
        WeightsCase{"compressed-tensors", 4, 67, 136, 34, true}}) {
    const TemporaryDirectory directory;
    const Checkpoint checkpoint = Written(c, directory);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const auto read = [&](at::DeviceType device) {
        return TensorReader(checkpoint, at::TensorOptions(type).device(device))
            .Read("m.weight", {c.rows, c.columns});
      };
      const at::Tensor expected = read(at::kCPU);
      EXPECT_GT(expected.to(at::kFloat).std().item<float>(), 0.001f) << c.method;
      if (!at::hasCUDA()) continue;
      // An element that is not written is NaN.
      at::full({1 << 22}, std::numeric_limits<float>::quiet_NaN(), at::TensorOptions(at::kCUDA));
      EXPECT_TRUE(read(at::kCUDA).cpu().equal(expected))
          << c.method << " " << c.bits << " " << type;
    }
  }
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
}

}  // namespace
}  // namespace kvtune
