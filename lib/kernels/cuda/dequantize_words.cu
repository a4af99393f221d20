#include "lib/kernels/cuda/dequantize_words.h"
#include "lib/kernels/cuda/device.cuh"

namespace kvtune {
namespace {

constexpr int kTile = 64;  // rows and columns of a block
constexpr int kThreads = 256;

// The words of a tile lie in shared memory in lines as the file has them, so that both memories are
// read in order. A line is one column of AWQ, a row of words of kColumns, one row of kRows; it is a
// word longer than it has to be, so that a column of words is in different banks.
struct TileWords {
  int per_word, of_line, lines;
  int64_t first_line, first_word, all_lines, all_words;  // of the whole matrix

  __device__ TileWords(const CudaWords& matrix, int64_t row, int64_t column)
      : per_word(32 / matrix.bits) {
    const bool by_columns = matrix.order == WordOrder::kColumns;
    of_line = by_columns ? kTile : kTile / per_word;
    lines = by_columns ? kTile / per_word : kTile;
    switch (matrix.order) {
      case WordOrder::kAwq:
        first_line = column;
        first_word = row / per_word;
        all_lines = matrix.columns;
        all_words = matrix.rows / per_word;
        break;
      case WordOrder::kColumns:
        first_line = column / per_word;
        first_word = row;
        all_lines = matrix.columns / per_word;
        all_words = matrix.rows;
        break;
      case WordOrder::kRows:
        first_line = row;
        first_word = column / per_word;
        all_lines = matrix.rows;
        all_words = matrix.columns / per_word;
        break;
    }
  }

  __device__ int Place(int line, int word) const { return line * (of_line + 1) + word; }
};

// The value of a row and column of the tile.
__device__ uint32_t CodeOf(const CudaWords& matrix, const TileWords& tile, const uint32_t* words,
                           int row, int column) {
  const int n = tile.per_word;
  switch (matrix.order) {
    case WordOrder::kAwq: {
      const int r = row % n;
      const int place = r % 2 * 4 + r / 2;  // the inverse of the order 0 2 4 6 1 3 5 7
      return words[tile.Place(column, row / n)] >> (4 * place) & 15;
    }
    case WordOrder::kColumns:
      return words[tile.Place(column / n, row)] >> (matrix.bits * (column % n)) &
             ((1u << matrix.bits) - 1);
    case WordOrder::kRows:
      return words[tile.Place(row, column / n)] >> (matrix.bits * (column % n)) &
             ((1u << matrix.bits) - 1);
  }
  return 0;
}

template <typename T>
__global__ void DequantizeWordsKernel(CudaWords matrix, T* out) {
  // The largest tile is that of kRows with 8 bits: 64 lines of 16 words, each a word longer.
  __shared__ uint32_t words[kTile * (kTile / 4 + 1)];
  const int64_t first_row = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kTile;
  const TileWords tile(matrix, first_row, first_column);
  for (int i = threadIdx.x; i < tile.lines * tile.of_line; i += kThreads) {
    const int line = i / tile.of_line, word = i % tile.of_line;
    const int64_t of_line = tile.first_line + line, of_word = tile.first_word + word;
    if (of_line < tile.all_lines && of_word < tile.all_words)
      words[tile.Place(line, word)] = matrix.words[of_line * tile.all_words + of_word];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kTile * kTile; i += kThreads) {
    const int64_t row = first_row + i / kTile, column = first_column + i % kTile;
    if (row >= matrix.rows || column >= matrix.columns) continue;
    const int64_t factor = matrix.group_of[column] * matrix.rows + row;
    const auto code = static_cast<float>(CodeOf(matrix, tile, words, i / kTile, i % kTile));
    Store((code - matrix.zeros[factor]) * matrix.scales[factor],
          &out[row * matrix.columns + column]);
  }
}

}  // namespace

void DequantizeWordsOnCuda(const CudaPlace& place, const CudaWords& matrix, void* out) {
  if (matrix.rows * matrix.columns == 0) return;
  const CurrentDevice current(place.device);
  const dim3 blocks(BlocksFor(matrix.columns, kTile), BlocksFor(matrix.rows, kTile));
  WithElementType(place.type, [&](auto* element) {
    using T = std::remove_pointer_t<decltype(element)>;
    DequantizeWordsKernel<T>
        <<<blocks, kThreads, 0, StreamOf(place)>>>(matrix, static_cast<T*>(out));
  });
  RequireLaunched("unpacking weights");
}

}  // namespace kvtune
