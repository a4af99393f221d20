// Safetensors files with any header, true or not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/json_fields.h"

namespace kvtune {

inline void WriteSafetensors(const std::filesystem::path& path, std::string_view header,
                             std::string_view data) {
  const uint64_t length = header.size();
  std::string content(reinterpret_cast<const char*>(&length), sizeof(length));
  content += header;
  content += data;
  WriteFileAtomically(path, content);
}

struct NamedTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

// The tensors one after the other, with a header that tells the truth about them.
inline void WriteTensors(const std::filesystem::path& path,
                         const std::vector<NamedTensor>& tensors) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const NamedTensor& tensor : tensors) {
    const size_t begin = data.size();
    data += tensor.bytes;
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  WriteSafetensors(path, header.dump(), data);
}

}  // namespace kvtune
