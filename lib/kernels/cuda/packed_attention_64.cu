// The kernels for heads of 64 channels, in a file of their own because compiling them takes long.
#include "lib/kernels/cuda/packed_attention.cuh"

namespace kvtune {

template <>
AttentionKernel FindAttentionKernel<64>(PackedSide key, PackedSide value, RowReaders readers) {
  return AttentionKernelOf<64>(key, value, readers);
}

}  // namespace kvtune
