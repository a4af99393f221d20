// Writing small safetensors files: scales of a quantized cache, as engines load them beside the
// weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace kvtune {

// One tensor of the file.
struct Float32Tensor {
  std::string name;
  std::vector<int64_t> shape;  // empty: one number
  std::vector<float> values;   // row-major
};

// In their order, in place of a file that is there. Throws Error when it cannot be written.
// REQUIRES: names are distinct, every tensor has as many values as its shape says.
void WriteSafetensors(const std::filesystem::path& path, std::span<const Float32Tensor> tensors);

}  // namespace kvtune
