#include "lib/kernels/fake_quantize_cpu.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/kernels/vector_math.h"

namespace kvtune {
namespace {

constexpr float kSmallestRange = 1e-5f;

struct Levels {
  float q_min;
  float q_max;
};

Levels LevelsOf(int bits) {
  return {-static_cast<float>(1 << (bits - 1)), static_cast<float>((1 << (bits - 1)) - 1)};
}

KVTUNE_VECTOR_CLONES
void QuantizeRow(const float* in, float* out, int64_t size, float q_min, float q_max) {
  float low = in[0], high = in[0];
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < size; ++i) {
    low = in[i] < low ? in[i] : low;
    high = in[i] > high ? in[i] : high;
  }
  const float range = high - low;
  const float scale = (range > kSmallestRange ? range : kSmallestRange) / (q_max - q_min);
  const float zero = __builtin_rintf(low / scale) - q_min;
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    float q = __builtin_rintf(in[i] / scale - zero);
    q = q < q_min ? q_min : q;
    q = q > q_max ? q_max : q;
    out[i] = (q + zero) * scale;
  }
}

// So many channels at a time that their scales and zeros stay in registers or in the first-level
// cache.
constexpr int64_t kChannelChunk = 64;

KVTUNE_VECTOR_CLONES
void QuantizeColumnGroup(const float* in, float* out, int64_t group, int64_t channels,
                         int64_t stride, float q_min, float q_max) {
  float low[kChannelChunk], high[kChannelChunk], scale[kChannelChunk], zero[kChannelChunk];
  for (int64_t c = 0; c < channels; ++c) low[c] = high[c] = in[c];
  for (int64_t t = 1; t < group; ++t) {
    const float* row = in + t * stride;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      low[c] = row[c] < low[c] ? row[c] : low[c];
      high[c] = row[c] > high[c] ? row[c] : high[c];
    }
  }
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) {
    const float range = high[c] - low[c];
    scale[c] = (range > kSmallestRange ? range : kSmallestRange) / (q_max - q_min);
    zero[c] = __builtin_rintf(low[c] / scale[c]) - q_min;
  }
  for (int64_t t = 0; t < group; ++t) {
    const float* row = in + t * stride;
    float* quantized = out + t * stride;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      float q = __builtin_rintf(row[c] / scale[c] - zero[c]);
      q = q < q_min ? q_min : q;
      q = q > q_max ? q_max : q;
      quantized[c] = (q + zero[c]) * scale[c];
    }
  }
}

// Everything that such a function calls is inlined into it, so that each clone has vector code of
// its own.
#if defined(__GNUC__)
#define KVTUNE_FLATTEN __attribute__((flatten))
#else
#define KVTUNE_FLATTEN
#endif

KVTUNE_VECTOR_CLONES KVTUNE_FLATTEN void RoundTripOneHead(Row head,
                                                          const HeadArithmetic& arithmetic,
                                                          float static_scale) {
  RoundTripHead(head, arithmetic, static_scale);
}

KVTUNE_VECTOR_CLONES KVTUNE_FLATTEN void RoundTripOneColumn(Row column,
                                                            const HeadArithmetic& arithmetic) {
  RoundTripRow(column, {arithmetic.numerics, arithmetic.bits});
}

}  // namespace

void RoundTripHeads(float* x, const HeadsShape& shape, const HeadArithmetic& arithmetic,
                    const float* static_scales) {
  const int64_t rows = shape.heads * shape.tokens;
#pragma omp parallel for schedule(static) if (rows * shape.head_dim >= kParallelElements)
  for (int64_t row = 0; row < rows; ++row) {
    RoundTripOneHead({x + row * shape.head_dim, shape.head_dim, 1}, arithmetic,
                     static_scales == nullptr ? 1.0f : static_scales[row / shape.tokens]);
  }
}

void RoundTripColumns(float* x, const HeadsShape& shape, const HeadArithmetic& arithmetic) {
  const int64_t groups = shape.tokens / arithmetic.group;
#pragma omp parallel for collapse(2) \
    schedule(static) if (shape.heads * groups * shape.head_dim >= kParallelElements)
  for (int64_t head = 0; head < shape.heads; ++head) {
    for (int64_t group = 0; group < groups; ++group) {
      float* first = x + (head * shape.tokens + group * arithmetic.group) * shape.head_dim;
      for (int64_t channel = 0; channel < shape.head_dim; ++channel) {
        RoundTripOneColumn({first + channel, arithmetic.group, shape.head_dim}, arithmetic);
      }
    }
  }
}

void FakeQuantizeRows(const float* in, float* out, int64_t count, int64_t width, int64_t group,
                      int bits) {
  const Levels levels = LevelsOf(bits);
#pragma omp parallel for schedule(static) if (count * width >= kParallelElements)
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t start = 0; start < width; start += group) {
      const int64_t offset = i * width + start;
      QuantizeRow(in + offset, out + offset, std::min(group, width - start), levels.q_min,
                  levels.q_max);
    }
  }
}

void FakeQuantizeColumns(const float* in, float* out, int64_t count, int64_t tokens,
                         int64_t channels, int64_t group, int bits) {
  const Levels levels = LevelsOf(bits);
  const int64_t full_groups = tokens / group;
#pragma omp parallel for collapse(2) \
    schedule(static) if (count * tokens * channels >= kParallelElements)
  for (int64_t i = 0; i < count; ++i) {
    // The last round is the rest that fills no group.
    for (int64_t g = 0; g <= full_groups; ++g) {
      const int64_t offset = (i * tokens + g * group) * channels;
      if (g == full_groups) {
        const int64_t rest = (tokens - full_groups * group) * channels;
        if (in != out && rest > 0)
          std::memcpy(out + offset, in + offset, static_cast<size_t>(rest) * sizeof(float));
        continue;
      }
      for (int64_t c = 0; c < channels; c += kChannelChunk) {
        QuantizeColumnGroup(in + offset + c, out + offset + c, group,
                            std::min(kChannelChunk, channels - c), channels, levels.q_min,
                            levels.q_max);
      }
    }
  }
}

}  // namespace kvtune
