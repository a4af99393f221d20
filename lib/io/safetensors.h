// Reading safetensors files, which are an 8-byte header length, a JSON header, and then the raw
// little-endian tensors.
//
// The file is memory-mapped and nothing is copied: a tensor's bytes are pages of the map
// (lib/base/mapped_file.h says what holds when the file changes meanwhile). The format is described
// in github.com/huggingface/safetensors, README "Format".
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/mapped_file.h"

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

// Returns "[320, 64]", for example, for messages.
std::string ShapeText(std::span<const int64_t> shape);

// What the header of a file says. Offsets count from `data_start`.
struct SafetensorsHeader {
  struct Entry {
    std::string dtype;
    std::vector<int64_t> shape;
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  uint64_t data_start = 0;
  std::map<std::string, Entry> tensors;
};

// Reads the header of a whole file in memory, which messages call `path`. Throws Error for a
// truncated file, for a header that is too long, is no JSON or contradicts its own shapes, for
// offsets that overlap or are out of range, and for duplicate names.
SafetensorsHeader ParseSafetensorsHeader(std::span<const std::byte> file, const std::string& path);

class SafetensorsFile {
 public:
  // Throws Error when the file cannot be mapped, and in the cases of ParseSafetensorsHeader. A
  // tensor of a type that kvtune does not read is refused only when it is asked for.
  explicit SafetensorsFile(const std::filesystem::path& path);

  bool Has(const std::string& name) const { return header_.tensors.contains(name); }
  // Throws Error, which names the file and the tensor.
  TensorView Get(const std::string& name) const;
  // Does the same, also for types that kvtune does not compute with.
  TensorContents Contents(const std::string& name) const;
  std::vector<std::string> names() const;
  const std::filesystem::path& path() const { return file_.path(); }
  std::span<const std::byte> bytes() const { return file_.bytes(); }
  // Throws Error when another program wrote the file since it was opened, as far as can be seen.
  void RequireUnchanged() const { file_.RequireUnchanged(); }

 private:
  const SafetensorsHeader::Entry& Find(const std::string& name) const;

  MappedFile file_;
  SafetensorsHeader header_;
};

}  // namespace kvtune
