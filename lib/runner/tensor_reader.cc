#include "lib/runner/tensor_reader.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>

#include "lib/base/error.h"
#include "lib/io/quantized_matrix.h"
#include "lib/runner/cuda_kernels.h"

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

// A tensor need not be aligned in the file, so it is copied byte by byte before it is converted.
// A GPU copies from pinned memory several times as fast as from other memory.
at::Tensor CopiedFrom(std::span<const std::byte> bytes, at::IntArrayRef shape, at::ScalarType type,
                      bool for_gpu) {
  at::Tensor raw = at::empty(shape, at::TensorOptions(type).pinned_memory(for_gpu));
  CopyBytes(bytes, raw.mutable_data_ptr());
  return raw;
}

at::Tensor ReadFloats(const Checkpoint& checkpoint, const std::string& name,
                      const std::vector<int64_t>& shape, bool for_gpu) {
  const TensorView view = checkpoint.Get(name, shape);
  at::Tensor raw = CopiedFrom(view.bytes, view.shape, ScalarTypeOf(view.type), for_gpu);
  DropPages(view.bytes);
  return raw;
}

// Unpacks on the GPU, so that only what is stored is copied to it.
at::Tensor DequantizeOnCuda(const StoredWords& stored, const at::TensorOptions& options) {
  const auto upload = [&](std::span<const std::byte> bytes, at::ScalarType type) {
    const auto count = static_cast<int64_t>(bytes.size() / c10::elementSize(type));
    return CopiedFrom(bytes, {count}, type, /*for_gpu=*/true)
        .to(options.device(), type, /*non_blocking=*/true);
  };
  return CudaDequantizedWords({.coding = stored.coding,
                               .bits = stored.bits,
                               .rows = stored.rows,
                               .columns = stored.columns,
                               .words = upload(stored.words, at::kInt),
                               .group_of = upload(std::as_bytes(stored.group_of), at::kInt),
                               .scales = upload(std::as_bytes(stored.scales), at::kFloat),
                               .zeros = upload(std::as_bytes(stored.zeros), at::kFloat)},
                              options);
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

// Reads a tensor in the type in which it is stored; in float32, or as `options` say, when that type
// is quantized.
at::Tensor ReadStored(const Checkpoint& checkpoint, const std::string& name,
                      const std::vector<int64_t>& shape, const at::TensorOptions& options) {
  const bool for_gpu = options.device().is_cuda();
  if (shape.size() == 2) {
    const auto matrix = FindQuantizedMatrix(checkpoint, name, shape[0], shape[1]);
    const auto words = matrix ? matrix->Words() : std::nullopt;
    if (words && HasCudaDequantizedWords(options)) {
      at::Tensor values = DequantizeOnCuda(*words, options);
      matrix->DropPages();
      return values;
    }
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
  at::Tensor tensor =
      ReadStored(checkpoint_, name, shape, options_).to(options_, /*non_blocking=*/true);
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
