// Reading safetensors files: an 8-byte header length, a JSON header, then raw little-endian
// tensors.
//
// The file is memory-mapped and nothing is copied: a tensor's bytes are pages of the map.
// Format: github.com/huggingface/safetensors, README "Format".
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"

namespace kvtune {

enum class TensorType { kFloat32, kFloat16, kBFloat16 };

struct TensorView {
  TensorType type = TensorType::kFloat32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // row-major; lives as long as its file
};

// A tensor of any type of the format, as its header describes it.
struct TensorContents {
  std::string_view dtype;  // "F32", "I64", ...; lives as long as its file
  std::span<const int64_t> shape;
  std::span<const std::byte> bytes;
};

// "[320, 64]" for messages.
std::string ShapeText(std::span<const int64_t> shape);

class SafetensorsFile {
 public:
  // Throws Error for a truncated file, a header that is too long, not JSON or lies about shapes,
  // for overlapping or out-of-range offsets, duplicate names. Tensors of a type that kvtune does
  // not read are refused when they are asked for.
  explicit SafetensorsFile(const std::filesystem::path& path);

  bool Has(const std::string& name) const { return tensors_.contains(name); }
  // Throws Error naming file and tensor.
  TensorView Get(const std::string& name) const;
  // The same for types that kvtune does not compute with.
  TensorContents Contents(const std::string& name) const;
  std::vector<std::string> names() const;
  const std::filesystem::path& path() const { return file_.path(); }
  std::span<const std::byte> bytes() const { return file_.bytes(); }

 private:
  struct Entry {
    std::string dtype;
    std::vector<int64_t> shape;
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  const Entry& Find(const std::string& name) const;

  MappedFile file_;
  uint64_t data_start_ = 0;
  std::map<std::string, Entry> tensors_;
};

}  // namespace kvtune
