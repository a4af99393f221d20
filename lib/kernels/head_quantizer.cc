#include "lib/kernels/head_quantizer.h"

#include <algorithm>
#include <random>
#include <string>

#include "lib/base/error.h"
#include "lib/kernels/lloyd_max.h"

namespace kvtune {
namespace {

// vLLM draws a Bernoulli(1/2) sequence from torch's generator with this seed: a 32-bit Mersenne
// Twister, the lowest 24 bits of which become a number in [0, 1). A number under 1/2 gives the sign
// +1.
void DrawSigns(HeadArithmetic& arithmetic) {
  std::mt19937 generator(0x9E3779B9u);
  for (int64_t i = 0; i < arithmetic.rotation_block; ++i) {
    const bool is_positive = (generator() & 0xffffffu) < 0x800000u;
    if (!is_positive) arithmetic.negative[i / 64] |= uint64_t{1} << (i % 64);
  }
}

}  // namespace

HeadArithmetic HeadArithmeticOf(const KvFormat& format, KvSide side, int64_t head_dim) {
  const QuantLayout& layout = format.layout(side);
  HeadArithmetic arithmetic;
  arithmetic.numerics = format.numerics;
  arithmetic.bits = format.bits;
  arithmetic.group = layout.group_size == 0 ? head_dim : layout.group_size;
  arithmetic.rotation_block = RotationBlock(layout, head_dim);
  arithmetic.rotation = arithmetic.rotation_block == 0 ? RotationKind::kNone : layout.rotation.kind;
  if (arithmetic.rotation == RotationKind::kSignedHadamard) {
    if (arithmetic.rotation_block > kLargestSignedBlock) {
      throw Error("quantizing a cache as " + std::string(format.name) + ": found a head_dim of " +
                  std::to_string(head_dim) + ", expected at most " +
                  std::to_string(kLargestSignedBlock));
    }
    DrawSigns(arithmetic);
  }
  if (arithmetic.numerics == Numerics::kTurboquantKey) {
    std::ranges::copy(LloydMaxLevels(head_dim, format.bits), arithmetic.levels);
  }
  return arithmetic;
}

}  // namespace kvtune
