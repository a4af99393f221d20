#include "lib/runner/tensor_reader.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "lib/base/error.h"
#include "lib/io/quantized_matrix.h"

namespace kvtune {
namespace {

// The least number of rows of a quantized matrix that is worth a thread.
constexpr int64_t kRowsPerThread = 64;

// No trained weight has ever come near it, and the products of larger ones overflow.
constexpr double kLargestWeight = 1e15;

std::string Text(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", number);
  return text;
}

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

// Copies with all threads, because one thread that takes a file's pages in reads no more than 2
// GB/s.
void CopyBytes(std::span<const std::byte> bytes, void* target) {
  constexpr int64_t kBytesPerThread = 1 << 22;
  at::parallel_for(0, static_cast<int64_t>(bytes.size()), kBytesPerThread,
                   [&](int64_t begin, int64_t end) {
                     std::memcpy(static_cast<std::byte*>(target) + begin, bytes.data() + begin,
                                 static_cast<size_t>(end - begin));
                   });
}

at::Tensor ReadFloats(const Checkpoint& checkpoint, const std::string& name,
                      const std::vector<int64_t>& shape, bool for_gpu) {
  const TensorView view = checkpoint.Get(name, shape);
  // A tensor need not be aligned in the file, so it is copied byte by byte before it is converted.
  // A GPU copies from pinned memory several times as fast as from other memory.
  at::Tensor raw =
      at::empty(view.shape, at::TensorOptions(ScalarTypeOf(view.type)).pinned_memory(for_gpu));
  CopyBytes(view.bytes, raw.mutable_data_ptr());
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
                      const std::vector<int64_t>& shape, bool for_gpu) {
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
  return ReadFloats(checkpoint, name, shape, for_gpu);
}

}  // namespace

at::Tensor TensorReader::Read(const std::string& name, const std::vector<int64_t>& shape) const {
  at::Tensor tensor = ReadStored(checkpoint_, name, shape, options_.device().is_cuda())
                          .to(options_, /*non_blocking=*/true);
  if (tensor.numel() == 0) return tensor;
  // Two reductions, because at::abs would take as much memory as the tensor. Both give NaN where
  // there is one, and NaN compares false.
  const double low = at::amin(tensor).item<double>(), high = at::amax(tensor).item<double>();
  if (low >= -kLargestWeight && high <= kLargestWeight) return tensor;
  checkpoint_.RequireUnchanged();  // a file that is being written may hold anything
  const bool finite = std::isfinite(low) && std::isfinite(high);
  const std::string found = finite ? Text(std::max(-low, high)) : "NaN or infinity";
  throw Error("loading the model " + checkpoint_.directory().string() + ": tensor " + name +
              ": found " + found + ", expected finite weights of at most " + Text(kLargestWeight));
}

}  // namespace kvtune
