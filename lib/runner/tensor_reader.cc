#include "lib/runner/tensor_reader.h"

#include <cstring>

#include "lib/base/error.h"

namespace kvtune {
namespace {

at::ScalarType ScalarTypeOf(TensorType type) {
  switch (type) {
    case TensorType::kFloat32: return at::kFloat;
    case TensorType::kFloat16: return at::kHalf;
    case TensorType::kBFloat16: return at::kBFloat16;
  }
  return at::kFloat;
}

}  // namespace

at::Tensor TensorReader::Read(const std::string& name, const std::vector<int64_t>& shape) const {
  const TensorView view = checkpoint_.Get(name, shape);
  // A tensor need not be aligned in the file, so it is copied byte by byte before it is converted.
  at::Tensor raw = at::empty(view.shape, at::TensorOptions(ScalarTypeOf(view.type)));
  std::memcpy(raw.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  at::Tensor tensor = raw.to(options_);
  if (!at::isfinite(tensor).all().item<bool>()) {
    throw Error("loading the model " + checkpoint_.directory().string() + ": tensor " + name +
                ": found NaN or infinity, expected finite weights");
  }
  return tensor;
}

}  // namespace kvtune
