// Writing small safetensors files. They hold the scales of a quantized cache, which engines load
// beside the weights.
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
  std::vector<int64_t> shape;  // an empty shape is that of one number
  std::vector<float> values;   // row-major
};

// Writes the tensors in their order and replaces a file that exists. Throws Error when the file
// cannot be written. REQUIRES: names are distinct, and every tensor has as many values as its shape
// says.
void WriteSafetensors(const std::filesystem::path& path, std::span<const Float32Tensor> tensors);

}  // namespace kvtune
