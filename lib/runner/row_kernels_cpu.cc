#include "lib/runner/row_kernels_cpu.h"

#include <omp.h>

#include <cmath>
#include <cstring>

#include "lib/runner/vector_math.h"

namespace kvtune {
namespace {

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
    const float e = ExpNonPositive(x < 0 ? x : -x);
    out[i] = x * (x < 0 ? e : 1.0f) / (1.0f + e) * up[i];
  }
}

KVTUNE_VECTOR_CLONES
void ScaleRow(const float* x, float* out, int64_t width, float scale) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) out[i] = x[i] * scale;
}

KVTUNE_VECTOR_CLONES
void RotateRow(const float* x, const float* cos, const float* sin, float* out, int64_t half, float scale) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float low = x[i], high = x[i + half];
    out[i] = (low * cos[i] - high * sin[i]) * scale;
    out[i + half] = (high * cos[i] + low * sin[i]) * scale;
  }
}

KVTUNE_VECTOR_CLONES
void SoftmaxRow(float* scores, int64_t visible) {
  float max = scores[0];
#pragma omp simd reduction(max : max)
  for (int64_t i = 0; i < visible; ++i) max = scores[i] > max ? scores[i] : max;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < visible; ++i) {
    scores[i] = ExpNonPositive(scores[i] - max);
    sum += scores[i];
  }
  const float factor = 1.0f / sum;
#pragma omp simd
  for (int64_t i = 0; i < visible; ++i) scores[i] *= factor;
}

// Calls row_kernel(source row, token, out row) for every head that is gathered.
template <typename RowKernel>
void ForEachHead(const float* source, const HeadLayout& layout, float* out, const RowKernel& row_kernel) {
  const int64_t elements = layout.sequences * layout.heads * layout.tokens * layout.head_dim;
#pragma omp parallel for collapse(2) schedule(static) if (elements >= kParallelElements)
  for (int64_t sequence = 0; sequence < layout.sequences; ++sequence) {
    for (int64_t token = 0; token < layout.tokens; ++token) {
      const float* row = source + (sequence * layout.tokens + token) * layout.row_width + layout.first_channel;
      for (int64_t head = 0; head < layout.heads; ++head) {
        row_kernel(row + head * layout.head_dim, token,
                   out + ((sequence * layout.heads + head) * layout.tokens + token) * layout.head_dim);
      }
    }
  }
}

}  // namespace

void RmsNormRows(const float* x, const float* weight, float* out, int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (rows * width >= kParallelElements)
  for (int64_t row = 0; row < rows; ++row) RmsNormRow(x + row * width, weight, out + row * width, width, eps);
}

void GatedSiluRows(const float* gate_up, float* out, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static) if (rows * width >= kParallelElements)
  for (int64_t row = 0; row < rows; ++row) {
    const float* gate = gate_up + row * 2 * width;
    GatedSiluRow(gate, gate + width, out + row * width, width);
  }
}

void GatherHeads(const float* source, const HeadLayout& layout, float scale, float* out) {
  ForEachHead(source, layout, out, [&](const float* row, int64_t, float* out_row) {
    ScaleRow(row, out_row, layout.head_dim, scale);
  });
}

void GatherRotatedHeads(const float* source, const HeadLayout& layout, int64_t rotary_dim, const float* cos,
                        const float* sin, float scale, float* out) {
  const int64_t half = rotary_dim / 2;
  ForEachHead(source, layout, out, [&](const float* row, int64_t token, float* out_row) {
    RotateRow(row, cos + token * half, sin + token * half, out_row, half, scale);
    ScaleRow(row + rotary_dim, out_row + rotary_dim, layout.head_dim - rotary_dim, scale);
  });
}

void CausalSoftmaxRows(float* scores, int64_t matrices, int64_t rows, int64_t columns, int64_t first_visible) {
#pragma omp parallel for collapse(2) schedule(static) if (matrices * rows * columns >= kParallelElements)
  for (int64_t matrix = 0; matrix < matrices; ++matrix) {
    for (int64_t row = 0; row < rows; ++row) {
      float* row_scores = scores + (matrix * rows + row) * columns;
      const int64_t visible = first_visible + row;
      SoftmaxRow(row_scores, visible);
      std::memset(row_scores + visible, 0, static_cast<size_t>(columns - visible) * sizeof(float));
    }
  }
}

}  // namespace kvtune
