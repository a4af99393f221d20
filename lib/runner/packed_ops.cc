#include "lib/runner/packed_ops.h"

#include "lib/base/error.h"
#include "lib/kernels/packed_cpu.h"
#if defined(KVTUNE_CUDA_KERNELS)
#include "lib/kernels/cuda/packed_cuda.h"
#endif

namespace kvtune {
namespace {

#if defined(KVTUNE_CUDA_KERNELS)
CudaPlace BFloat16On(const at::Device& device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  return {device.index(), guard.getStream(device).native_handle(), ElementType::kBFloat16};
}
#endif

}  // namespace

void RequirePacking(const at::Device& device) {
#if defined(KVTUNE_CUDA_KERNELS)
  (void)device;
#else
  if (!device.is_cpu()) {
    throw Error("packing a cache on " + device.str() +
                ": found a kvtune that was built without CUDA kernels, expected -DKVTUNE_CUDA=ON");
  }
#endif
}

const uint16_t* BitsOfTensor(const at::Tensor& x) {
  return static_cast<const uint16_t*>(x.const_data_ptr());
}

void FillPacked(const PackedCache& cache, const PackedTokens& first, const at::Device& device) {
#if defined(KVTUNE_CUDA_KERNELS)
  if (device.is_cuda()) return FillOnCuda(cache, first, BFloat16On(device));
#endif
  (void)device;
  FillOnCpu(cache, first);
}

void AppendPacked(const PackedCache& cache, const PackedTokens& newest, const at::Device& device) {
#if defined(KVTUNE_CUDA_KERNELS)
  if (device.is_cuda()) return AppendOnCuda(cache, newest, BFloat16On(device));
#endif
  (void)device;
  AppendOnCpu(cache, newest);
}

void FlushPacked(const PackedCache& cache, const at::Device& device) {
#if defined(KVTUNE_CUDA_KERNELS)
  if (device.is_cuda()) return FlushOnCuda(cache, BFloat16On(device));
#endif
  (void)device;
  FlushOnCpu(cache);
}

void AttendPacked(const PackedCache& cache, const PackedQuery& query, const PackedWork& work,
                  const at::Device& device) {
#if defined(KVTUNE_CUDA_KERNELS)
  if (device.is_cuda()) {
    const CudaPlace place = BFloat16On(device);
    // The device is asked once how many blocks fill it; a known number costs no call.
    const PackedSplits splits = SplitsOnCuda(cache, query, place, *work.blocks);
    *work.blocks = splits.blocks;
    const int64_t floats = ScratchFloats(cache, query, splits);
    if (!work.scratch->defined() || work.scratch->numel() < floats)
      *work.scratch = at::empty({floats}, at::TensorOptions(at::kFloat).device(device));
    return AttendOnCuda(cache, query, splits, work.scratch->mutable_data_ptr<float>(), place);
  }
#endif
  (void)work;
  (void)device;
  AttendOnCpu(cache, query);
}

}  // namespace kvtune
