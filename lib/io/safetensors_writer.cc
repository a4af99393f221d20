#include "lib/io/safetensors_writer.h"

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/base/file.h"

namespace kvtune {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

void Append(std::string& file, const void* bytes, size_t size) {
  file.append(static_cast<const char*>(bytes), size);
}

}  // namespace

void WriteSafetensors(const std::filesystem::path& path, std::span<const Float32Tensor> tensors) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const Float32Tensor& tensor : tensors) {
    const size_t begin = data.size();
    Append(data, tensor.values.data(), tensor.values.size() * sizeof(float));
    header[tensor.name] = {
        {"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  // Spaces after the header align the data, as the reference implementation writes it.
  std::string text = header.dump();
  constexpr size_t kAlignment = 8;
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const auto length = static_cast<uint64_t>(text.size());
  std::string file;
  Append(file, &length, sizeof length);
  WriteOutputFile(path, file + text + data);
}

}  // namespace kvtune
