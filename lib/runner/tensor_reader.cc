#include "lib/runner/tensor_reader.h"

#include <cstring>

#include "lib/base/error.h"
#include "lib/io/quantized_matrix.h"

namespace kvtune {
namespace {

// The least number of rows of a quantized matrix that is worth a thread.
constexpr int64_t kRowsPerThread = 64;

at::ScalarType ScalarTypeOf(TensorType type) {
  switch (type) {
    case TensorType::kFloat32:
      return at::kFloat;
    case TensorType::kFloat16:
      return at::kHalf;
    case TensorType::kBFloat16:
      return at::kBFloat16;
  }
  return at::kFloat;
}

at::Tensor ReadFloats(const Checkpoint& checkpoint, const std::string& name,
                      const std::vector<int64_t>& shape) {
  const TensorView view = checkpoint.Get(name, shape);
  // A tensor need not be aligned in the file, so it is copied byte by byte before it is converted.
  at::Tensor raw = at::empty(view.shape, at::TensorOptions(ScalarTypeOf(view.type)));
  std::memcpy(raw.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  DropPages(view.bytes);
  return raw;
}

at::Tensor Dequantize(const QuantizedMatrix& matrix, int64_t rows, int64_t columns) {
  at::Tensor values = at::empty({rows, columns}, at::TensorOptions(at::kFloat));
  float* data = values.mutable_data_ptr<float>();
  at::parallel_for(0, rows, kRowsPerThread, [&](int64_t begin, int64_t end) {
    matrix.Dequantize(begin, end - begin, data + begin * columns);
  });
  matrix.DropPages();
  return values;
}

// Reads a tensor in the type in which it is stored, or in float32 when that type is quantized.
at::Tensor ReadStored(const Checkpoint& checkpoint, const std::string& name,
                      const std::vector<int64_t>& shape) {
  if (shape.size() == 2) {
    const auto matrix = FindQuantizedMatrix(checkpoint, name, shape[0], shape[1]);
    if (matrix) return Dequantize(*matrix, shape[0], shape[1]);
  } else if (shape.size() == 3) {
    // Quantized experts are stored as [experts, out, in], while those of floats are [experts, in,
    // out].
    const auto experts = FindQuantizedExperts(checkpoint, name, shape[0], shape[2], shape[1]);
    if (experts) {
      return Dequantize(*experts, shape[0] * shape[2], shape[1])
          .view({shape[0], shape[2], shape[1]})
          .transpose(1, 2);
    }
  }
  return ReadFloats(checkpoint, name, shape);
}

}  // namespace

at::Tensor TensorReader::Read(const std::string& name, const std::vector<int64_t>& shape) const {
  at::Tensor tensor = ReadStored(checkpoint_, name, shape).to(options_);
  if (!at::isfinite(tensor).all().item<bool>()) {
    throw Error("loading the model " + checkpoint_.directory().string() + ": tensor " + name +
                ": found NaN or infinity, expected finite weights");
  }
  return tensor;
}

}  // namespace kvtune
