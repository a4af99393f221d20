#include "lib/io/module_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "lib/base/error.h"

namespace kvtune {
namespace {

float HalfValue(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int mantissa = bits & 1023;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<float>::infinity()
                         : std::numeric_limits<float>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

float FloatAt(const TensorContents& tensor, int64_t index) {
  if (tensor.dtype == "F32") return LoadAt<float>(tensor.bytes, index);
  if (tensor.dtype == "F16") return HalfValue(LoadAt<uint16_t>(tensor.bytes, index));
  if (tensor.dtype == "BF16") {
    return std::bit_cast<float>(static_cast<uint32_t>(LoadAt<uint16_t>(tensor.bytes, index)) << 16);
  }
  return std::ldexp(1.0f, LoadAt<uint8_t>(tensor.bytes, index) - 127);  // F8_E8M0
}

}  // namespace

std::string ModuleParts::Name(std::string_view part) const {
  return fmt::format("{}.{}", module_, part);
}

void ModuleParts::Fail(std::string_view part, const std::string& found_and_expected) const {
  throw Error(fmt::format("loading the model {}: tensor {}: {}", checkpoint_.directory().string(),
                          checkpoint_.StoredName(Name(part)), found_and_expected));
}

TensorContents ModuleParts::Get(std::string_view part,
                                std::initializer_list<std::string_view> types,
                                std::initializer_list<Shape> shapes) const {
  const TensorContents tensor = checkpoint_.Contents(Name(part));
  if (std::ranges::find(types, tensor.dtype) == types.end()) {
    Fail(part,
         fmt::format("found the type {}, expected {}", tensor.dtype, fmt::join(types, " or ")));
  }
  const auto is_found = [&](const Shape& shape) { return std::ranges::equal(shape, tensor.shape); };
  if (std::ranges::none_of(shapes, is_found)) {
    Fail(part, fmt::format("found the shape {}, expected {}", ShapeText(tensor.shape),
                           ShapeText(*shapes.begin())));
  }
  return tensor;
}

std::vector<float> ModuleParts::GetFloats(std::string_view part,
                                          std::initializer_list<Shape> shapes) const {
  const TensorContents tensor = Get(part, {"F32", "F16", "BF16", "F8_E8M0"}, shapes);
  int64_t count = 1;
  for (const int64_t size : tensor.shape) count *= size;
  std::vector<float> values;
  values.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values.push_back(FloatAt(tensor, i));
  return values;
}

}  // namespace kvtune
