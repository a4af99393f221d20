#include "lib/io/module_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "lib/base/error.h"

namespace kvtune {
namespace {

// The number of elements from which on threads are worth their start.
constexpr int64_t kLeastForThreads = 1 << 16;

float HalfValue(uint16_t bits) {
  // The exponent and the mantissa at the places where a float has them. The factor makes up for the
  // difference of the biases, also where the number is below the least normal one.
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fff) << 13;
  constexpr uint32_t kInfinity = 31u << 23, kInfinityOfFloat = 255u << 23;
  const float value = magnitude < kInfinity ? std::bit_cast<float>(magnitude) * 0x1p112f
                                            : std::bit_cast<float>(magnitude | kInfinityOfFloat);
  return (bits & 0x8000) != 0 ? -value : value;
}

// Sets values[i] to what `value` makes of the i-th number of type T. The scales of a large layer
// are millions, and a streamed layer is read for every pass.
template <typename T, typename Value>
void Convert(std::span<const std::byte> bytes, const Value& value, std::vector<float>& values) {
  const auto count = static_cast<int64_t>(values.size());
#pragma omp parallel for if (count >= kLeastForThreads)
  for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = value(LoadAt<T>(bytes, i));
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
  std::vector<float> values(static_cast<size_t>(count));
  if (tensor.dtype == "F32") {
    Convert<float>(
        tensor.bytes, [](float x) { return x; }, values);
  } else if (tensor.dtype == "F16") {
    Convert<uint16_t>(
        tensor.bytes, [](uint16_t x) { return HalfValue(x); }, values);
  } else if (tensor.dtype == "BF16") {
    const auto widened = [](uint16_t x) {
      return std::bit_cast<float>(static_cast<uint32_t>(x) << 16);
    };
    Convert<uint16_t>(tensor.bytes, widened, values);
  } else {  // F8_E8M0
    Convert<uint8_t>(
        tensor.bytes, [](uint8_t x) { return std::ldexp(1.0f, x - 127); }, values);
  }
  return values;
}

}  // namespace kvtune
