#include "lib/io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/json_fields.h"

namespace kvtune {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation

// This knows every type of the format, so that a tensor that nobody reads is no error by itself.
std::optional<uint64_t> BitsPerElement(std::string_view dtype) {
  static constexpr std::pair<uint64_t, std::string_view> kTypes[] = {
      {64, "C64"},    {64, "F64"},    {64, "I64"},        {64, "U64"},    {32, "F32"},
      {32, "I32"},    {32, "U32"},    {16, "F16"},        {16, "BF16"},   {16, "I16"},
      {16, "U16"},    {8, "F8_E4M3"}, {8, "F8_E4M3FNUZ"}, {8, "F8_E5M2"}, {8, "F8_E5M2FNUZ"},
      {8, "F8_E8M0"}, {8, "I8"},      {8, "U8"},          {8, "BOOL"},    {6, "F6_E2M3"},
      {6, "F6_E3M2"}, {4, "F4"},
  };
  for (const auto& [bits, name] : kTypes) {
    if (name == dtype) return bits;
  }
  return std::nullopt;
}

std::string_view HeaderText(std::span<const std::byte> bytes, const std::string& path) {
  const auto fail = [&](const std::string& what) {
    throw Error(fmt::format("reading {}: {}", path, what));
  };
  if (bytes.size() < kLengthBytes) {
    fail(fmt::format("found {} bytes, expected a safetensors file of at least 8", bytes.size()));
  }
  const std::string_view beginning(reinterpret_cast<const char*>(bytes.data()),
                                   std::min<size_t>(bytes.size(), 64));
  if (beginning.starts_with("version https://git-lfs")) {
    fail("found a Git LFS pointer, expected weights: git lfs pull fetches the file itself");
  }
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes) {
    fail(fmt::format("found a header length of {} bytes, expected at most {}", length,
                     kMaxHeaderBytes));
  }
  if (length > bytes.size() - kLengthBytes) {
    fail(fmt::format("found a header length of {} bytes in a file of {}, the file is truncated",
                     length, bytes.size()));
  }
  return {reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, static_cast<size_t>(length)};
}

}  // namespace

std::string ShapeText(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

SafetensorsHeader ParseSafetensorsHeader(std::span<const std::byte> file, const std::string& path) {
  const std::string_view text = HeaderText(file, path);
  SafetensorsHeader header;
  header.data_start = kLengthBytes + text.size();
  const uint64_t data_size = file.size() - header.data_start;
  const std::string source = path + " (safetensors header)";
  const Json json = ParseJson(text, source);
  JsonFields fields(json, source);

  uint64_t covered = 0;
  std::vector<std::tuple<uint64_t, uint64_t, std::string>> by_offset;  // begin, end, name
  for (const std::string& name : fields.Keys()) {
    if (name == "__metadata__") continue;
    JsonFields tensor = fields.Object(name);
    SafetensorsHeader::Entry entry;
    entry.dtype = tensor.String("dtype");
    entry.shape = tensor.Integers("shape");
    const std::vector<int64_t> offsets = tensor.Integers("data_offsets");
    const auto element_bits = BitsPerElement(entry.dtype);
    if (!element_bits)
      tensor.Fail("dtype", fmt::format("found {}, expected a safetensors type", entry.dtype));
    if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] < offsets[0] ||
        static_cast<uint64_t>(offsets[1]) > data_size) {
      tensor.Fail("data_offsets",
                  fmt::format("found {}, expected [begin, end] within the {} bytes of data",
                              ShapeText(offsets), data_size));
    }
    entry.begin = static_cast<uint64_t>(offsets[0]);
    entry.end = static_cast<uint64_t>(offsets[1]);
    uint64_t expected_bits = *element_bits;
    for (const int64_t size : entry.shape) {
      uint64_t product = 0;
      if (size < 0 ||
          __builtin_mul_overflow(expected_bits, static_cast<uint64_t>(size), &product)) {
        tensor.Fail("shape", fmt::format("found {}, expected sizes whose product fits",
                                         ShapeText(entry.shape)));
      }
      expected_bits = product;
    }
    if (expected_bits % 8 != 0) {
      tensor.Fail("shape", fmt::format("found {}, expected whole bytes of {}",
                                       ShapeText(entry.shape), entry.dtype));
    }
    const uint64_t expected_bytes = expected_bits / 8;
    if (expected_bytes != entry.end - entry.begin) {
      tensor.Fail("data_offsets",
                  fmt::format("found {} bytes, expected {} for {} {}", entry.end - entry.begin,
                              expected_bytes, entry.dtype, ShapeText(entry.shape)));
    }
    covered += entry.end - entry.begin;
    by_offset.emplace_back(entry.begin, entry.end, name);
    header.tensors.emplace(name, std::move(entry));
  }

  std::sort(by_offset.begin(), by_offset.end());
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const auto& [previous_begin, previous_end, previous_name] = by_offset[i - 1];
    const auto& [begin, end, name] = by_offset[i];
    if (previous_end > begin) {
      throw Error(
          fmt::format("reading {}: found the tensors {} and {} overlapping, expected disjoint data",
                      source, previous_name, name));
    }
  }
  // Disjoint tensors that cover all bytes leave no gap in which a truncated file could hide.
  if (covered != data_size) {
    throw Error(fmt::format("reading {}: found {} bytes of data, expected {} as its header says",
                            path, data_size, covered));
  }
  return header;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), header_(ParseSafetensorsHeader(file_.bytes(), path.string())) {
  file_.RequireUnchanged();
}

const SafetensorsHeader::Entry& SafetensorsFile::Find(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) {
    throw Error(fmt::format("reading {}: found no tensor {}, expected one", path().string(), name));
  }
  return found->second;
}

TensorContents SafetensorsFile::Contents(const std::string& name) const {
  const SafetensorsHeader::Entry& entry = Find(name);
  return {entry.dtype, entry.shape,
          file_.bytes().subspan(header_.data_start + entry.begin, entry.end - entry.begin)};
}

TensorView SafetensorsFile::Get(const std::string& name) const {
  const SafetensorsHeader::Entry& entry = Find(name);
  TensorView view;
  if (entry.dtype == "F32") {
    view.type = TensorType::kFloat32;
  } else if (entry.dtype == "F16") {
    view.type = TensorType::kFloat16;
  } else if (entry.dtype == "BF16") {
    view.type = TensorType::kBFloat16;
  } else {
    throw Error(fmt::format("reading {}: tensor {}: found the type {}, expected F32, F16 or BF16",
                            path().string(), name, entry.dtype));
  }
  view.shape = entry.shape;
  view.bytes = Contents(name).bytes;
  return view;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  names.reserve(header_.tensors.size());
  for (const auto& [name, entry] : header_.tensors) names.push_back(name);
  return names;
}

}  // namespace kvtune
