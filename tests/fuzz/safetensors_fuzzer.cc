// A whole safetensors file, or a header to which the fuzzer adds the length in front and the data
// behind.
#include <cstring>
#include <numeric>
#include <span>

#include "lib/io/safetensors.h"
#include "tests/fuzz/fuzzer.h"

namespace {

using kvtune::SafetensorsHeader;

// The first byte says what follows: 0, a whole file; otherwise a header behind two bytes with the
// size of the data.
std::string FileOf(std::string_view input) {
  const size_t form = kvtune::fuzz::TakeChoice(input, 4);
  if (form == 0) return std::string(input);
  const size_t low = kvtune::fuzz::TakeChoice(input, 256);
  const size_t high = kvtune::fuzz::TakeChoice(input, 256);
  const uint64_t length = input.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file.append(input).append(high * 256 + low, '\1');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  const std::string file = FileOf(fuzz::TextOf(data, size));
  return fuzz::Try(file.size(), [&] {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(file));
    const SafetensorsHeader header = ParseSafetensorsHeader(bytes, "model.safetensors");
    const std::span<const std::byte> data_bytes = bytes.subspan(header.data_start);
    size_t covered = 0;
    for (const auto& [name, entry] : header.tensors) {
      fuzz::Require(entry.begin <= entry.end && entry.end <= data_bytes.size(),
                    "tensors lie in the file");
      covered += entry.end - entry.begin;
      ShapeText(entry.shape);
    }
    fuzz::Require(covered == data_bytes.size(), "tensors cover the file");
  });
}
