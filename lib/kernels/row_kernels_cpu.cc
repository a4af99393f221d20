#include "lib/kernels/row_kernels_cpu.h"

#include <omp.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "lib/kernels/vector_math.h"

namespace kvtune {
namespace {

constexpr float kGeluInner = 0.7978845608028654f;  // sqrt(2 / pi)
// This is below every score, and exp of it is 0, so that it takes no weight.
constexpr float kNoSink = -std::numeric_limits<float>::max();

KVTUNE_VECTOR_CLONES
void RmsNormRow(const float* x, const float* weight, float* out, int64_t width, float eps) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < width; ++i) squares += x[i] * x[i];
  const float factor = 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) out[i] = x[i] * factor * weight[i];
}

KVTUNE_VECTOR_CLONES
void GatedSiluRow(const float* gate, const float* up, float* out, int64_t width) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) {
    const float x = gate[i];
    // The sigmoid of x from exp(-|x|), which cannot overflow.
    const float e = ExpNonPositive(x < 0 ? x : -x);
    out[i] = x * (x < 0 ? e : 1.0f) / (1.0f + e) * up[i];
  }
}

KVTUNE_VECTOR_CLONES
void GatedGeluRow(const float* gate, const float* up, float* out, int64_t width) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) {
    const float x = gate[i];
    out[i] = 0.5f * x * (1.0f + Tanh(kGeluInner * (x + 0.044715f * x * x * x))) * up[i];
  }
}

KVTUNE_VECTOR_CLONES
void ClampedSwigluRow(const float* gate, const float* up, float* out, int64_t width) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) {
    const float x = gate[i] > kSwigluLimit ? kSwigluLimit : gate[i];
    const float u = up[i] > kSwigluLimit    ? kSwigluLimit
                    : up[i] < -kSwigluLimit ? -kSwigluLimit
                                            : up[i];
    const float y = kSwigluSlope * x;
    const float e = ExpNonPositive(y < 0 ? y : -y);
    out[i] = x * (y < 0 ? e : 1.0f) / (1.0f + e) * (u + 1.0f);
  }
}

KVTUNE_VECTOR_CLONES
void SoftCapRow(float* x, int64_t count, float cap) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) x[i] = cap * Tanh(x[i] / cap);
}

KVTUNE_VECTOR_CLONES
void ScaleRow(const float* x, float* out, int64_t width, float scale) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) out[i] = x[i] * scale;
}

KVTUNE_VECTOR_CLONES
void RotateRow(const float* x, const float* cos, const float* sin, float* out, int64_t half,
               float scale) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float low = x[i], high = x[i + half];
    out[i] = (low * cos[i] - high * sin[i]) * scale;
    out[i + half] = (high * cos[i] + low * sin[i]) * scale;
  }
}

KVTUNE_VECTOR_CLONES
void SoftmaxRow(float* scores, int64_t visible, float sink) {
  // Subtracting the largest score keeps exp from overflowing. The sink is one of the scores.
  float max = sink;
#pragma omp simd reduction(max : max)
  for (int64_t i = 0; i < visible; ++i) max = scores[i] > max ? scores[i] : max;
  float sum = ExpNonPositive(sink - max);
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < visible; ++i) {
    scores[i] = ExpNonPositive(scores[i] - max);
    sum += scores[i];
  }
  const float factor = 1.0f / sum;
#pragma omp simd
  for (int64_t i = 0; i < visible; ++i) scores[i] *= factor;
}

// Calls row_kernel(source row, token, out row) for every token of every head that is gathered.
template <typename RowKernel>
void ForEachHead(const float* source, const HeadLayout& layout, float* out,
                 const RowKernel& row_kernel) {
  const int64_t elements = layout.sequences * layout.heads * layout.tokens * layout.head_dim;
#pragma omp parallel for collapse(2) schedule(static) if (elements >= kParallelElements)
  for (int64_t sequence = 0; sequence < layout.sequences; ++sequence) {
    for (int64_t token = 0; token < layout.tokens; ++token) {
      const float* row =
          source + (sequence * layout.tokens + token) * layout.row_width + layout.first_channel;
      for (int64_t head = 0; head < layout.heads; ++head) {
        row_kernel(
            row + head * layout.head_dim, token,
            out + ((sequence * layout.heads + head) * layout.tokens + token) * layout.head_dim);
      }
    }
  }
}

}  // namespace

void RmsNormRows(const float* x, const float* weight, float* out, int64_t rows, int64_t width,
                 float eps) {
#pragma omp parallel for schedule(static) if (rows * width >= kParallelElements)
  for (int64_t row = 0; row < rows; ++row)
    RmsNormRow(x + row * width, weight, out + row * width, width, eps);
}

void GatedRows(const float* gate_up, float* out, int64_t rows, int64_t width,
               Activation activation) {
  const auto row_kernel = activation == Activation::kSilu       ? GatedSiluRow
                          : activation == Activation::kGeluTanh ? GatedGeluRow
                                                                : ClampedSwigluRow;
#pragma omp parallel for schedule(static) if (rows * width >= kParallelElements)
  for (int64_t row = 0; row < rows; ++row) {
    const float* gate = gate_up + row * 2 * width;
    row_kernel(gate, gate + width, out + row * width, width);
  }
}

void SoftCapElements(float* x, int64_t count, float cap) {
#pragma omp parallel for schedule(static) if (count >= kParallelElements)
  for (int64_t start = 0; start < count; start += kParallelElements) {
    SoftCapRow(x + start, count - start < kParallelElements ? count - start : kParallelElements,
               cap);
  }
}

void RmsNormHeads(float* source, const HeadLayout& layout, const float* weight, float eps) {
  const int64_t rows = layout.sequences * layout.tokens;
#pragma omp parallel for schedule(static) if (rows * layout.heads * layout.head_dim >= \
                                              kParallelElements)
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t head = 0; head < layout.heads; ++head) {
      float* x = source + row * layout.row_width + layout.first_channel + head * layout.head_dim;
      RmsNormRow(x, weight, x, layout.head_dim, eps);
    }
  }
}

void GatherHeads(const float* source, const HeadLayout& layout, float scale, float* out) {
  ForEachHead(source, layout, out, [&](const float* row, int64_t, float* out_row) {
    ScaleRow(row, out_row, layout.head_dim, scale);
  });
}

void GatherRotatedHeads(const float* source, const HeadLayout& layout, int64_t rotary_dim,
                        const float* cos, const float* sin, float scale, float* out) {
  const int64_t half = rotary_dim / 2;
  ForEachHead(source, layout, out, [&](const float* row, int64_t token, float* out_row) {
    RotateRow(row, cos + token * half, sin + token * half, out_row, half, scale);
    ScaleRow(row + rotary_dim, out_row + rotary_dim, layout.head_dim - rotary_dim, scale);
  });
}

void CausalSoftmaxRows(float* scores, const ScoreLayout& layout) {
  const int64_t elements = layout.matrices * layout.rows * layout.columns;
#pragma omp parallel for collapse(2) schedule(static) if (elements >= kParallelElements)
  for (int64_t matrix = 0; matrix < layout.matrices; ++matrix) {
    for (int64_t row = 0; row < layout.rows; ++row) {
      float* row_scores = scores + (matrix * layout.rows + row) * layout.columns;
      const int64_t end = layout.first_visible + row;
      const int64_t begin = layout.window > 0 && end > layout.window ? end - layout.window : 0;
      std::memset(row_scores, 0, static_cast<size_t>(begin) * sizeof(float));
      SoftmaxRow(row_scores + begin, end - begin,
                 layout.sinks == nullptr ? kNoSink : layout.sinks[matrix % layout.heads]);
      std::memset(row_scores + end, 0, static_cast<size_t>(layout.columns - end) * sizeof(float));
    }
  }
}

}  // namespace kvtune
