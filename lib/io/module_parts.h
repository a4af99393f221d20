// The tensors that store one linear module, each checked for type and shape as it is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/io/checkpoint.h"

namespace kvtune {

using Shape = std::vector<int64_t>;

// Copies, because a tensor need not be aligned in its file.
template <typename T>
T LoadAt(std::span<const std::byte> bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

class ModuleParts {
 public:
  // `module` is a name like "model.layers.0.mlp.up_proj". REQUIRES: `checkpoint` outlives the
  // parts.
  ModuleParts(const Checkpoint& checkpoint, std::string module)
      : checkpoint_(checkpoint), module_(std::move(module)) {}

  // The full name of a part, for example "model.layers.0.mlp.up_proj.qweight".
  std::string Name(std::string_view part) const;
  bool Has(std::string_view part) const { return checkpoint_.Has(Name(part)); }

  // Throws Error when the tensor is missing, or has none of these types or none of these shapes.
  TensorContents Get(std::string_view part, std::initializer_list<std::string_view> types,
                     std::initializer_list<Shape> shapes) const;
  // Does the same for a tensor of floats of any type. F8_E8M0, which holds powers of two, is one of
  // them.
  std::vector<float> GetFloats(std::string_view part, std::initializer_list<Shape> shapes) const;

  // Throws Error, which names the model and the tensor.
  [[noreturn]] void Fail(std::string_view part, const std::string& found_and_expected) const;

 private:
  const Checkpoint& checkpoint_;
  std::string module_;
};

}  // namespace kvtune
