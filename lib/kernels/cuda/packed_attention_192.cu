// The kernels for heads of 192 channels, in a file of their own because compiling them takes long.
#include "lib/kernels/cuda/packed_attention.cuh"

namespace kvtune {

template <>
AttentionKernel FindAttentionKernel<192>(PackedSide key, PackedSide value, RowReaders readers) {
  return AttentionKernelOf<192>(key, value, readers);
}

}  // namespace kvtune
