#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/packed_cuda.h"
#include "lib/kernels/kvtuner_row.h"

namespace kvtune {
namespace {

constexpr int kGroupThreads = 128;
constexpr int kTokenThreads = 64;
constexpr int kFillTokens = 4;  // of a block
constexpr int kCopyThreads = 512;
constexpr int kMostHeadDim = 256;
constexpr char kStoring[] = "storing tokens in a packed cache";

// What the kernels need of a side beside the planes.
struct SideStore {
  PackedSide side;
  int bits;
};

__device__ void WriteParameters(uint8_t* plane, int64_t row, float scale, float zero) {
  reinterpret_cast<uint32_t*>(plane)[row] =
      BFloat16Bits(scale) | (static_cast<uint32_t>(BFloat16Bits(zero)) << 16);
}

// Stores one token of one side: a warp's work. x: [head_dim]
__device__ void StoreToken(const uint16_t* x, KvSide kind, const SideStore& store, int64_t head_dim,
                           int64_t token, uint8_t* codes, uint8_t* parameters) {
  const int lane = threadIdx.x % 32;
  const int codes_per_unit = 16 / store.bits;
  const int64_t units = head_dim / codes_per_unit;
  if (store.side.code == PackedCode::kExact) {
    for (int64_t u = lane; u < units; u += 32)
      *reinterpret_cast<uint16_t*>(codes + UnitOf(kind, token, u, head_dim, 16)) = x[u];
    return;
  }
  if (store.side.code == PackedCode::kFp8) {
    for (int64_t u = lane; u < units; u += 32) {
      const uint32_t low = E4m3Code(FromBFloat16(x[2 * u]));
      const uint32_t high = E4m3Code(FromBFloat16(x[2 * u + 1]));
      *reinterpret_cast<uint16_t*>(codes + UnitOf(kind, token, u, head_dim, 8)) =
          static_cast<uint16_t>(low | (high << 8));
    }
    return;
  }
  float low = INFINITY, high = -INFINITY;
  for (int64_t i = lane; i < head_dim; i += 32) {
    const float value = FromBFloat16(x[i]);
    low = fminf(low, value);
    high = fmaxf(high, value);
  }
  const KvtunerRow<RoundToBFloat16> row(WarpReduce(low, Smaller()), WarpReduce(high, Larger()),
                                        store.bits);
  for (int64_t u = lane; u < units; u += 32) {
    uint32_t unit = 0;
    for (int i = 0; i < codes_per_unit; ++i)
      unit |= row.LevelOf(FromBFloat16(x[u * codes_per_unit + i])) << (i * store.bits);
    *reinterpret_cast<uint16_t*>(codes + UnitOf(kind, token, u, head_dim, store.bits)) =
        static_cast<uint16_t>(unit);
  }
  if (lane == 0) WriteParameters(parameters, token, row.scale, row.zero);
}

// Two warps store one token of one KV head: the first its keys, the second its values. With `fills`
// token i of the input is token i of the sequence, otherwise the input is the newest token.
__global__ void StoreTokensKernel(PackedCache cache, PackedTokens input, SideStore key,
                                  SideStore value, bool fills) {
  const int64_t row = RowOfSequence(cache, blockIdx.z), head = blockIdx.y;
  const int64_t i = blockIdx.x * (blockDim.x / kTokenThreads) + threadIdx.x / kTokenThreads;
  const int64_t tokens = cache.tokens[row];
  const int64_t token = fills ? i : tokens - 1;
  if (token < 0 || token >= tokens || i >= input.count) return;
  const int64_t head_dim = cache.layout.head_dim;
  const int64_t window = cache.layout.window_tokens;
  if (window > 0 && fills && token < cache.layout.PackedTokens(tokens))
    return;  // QuantizeGroupsKernel
  const KvSide side = threadIdx.x % kTokenThreads < 32 ? KvSide::kKey : KvSide::kValue;
  const uint16_t* x =
      (side == KvSide::kKey ? input.keys : input.values) + InputAt(cache, input, row, head, i);
  if (window > 0) {
    uint8_t* base = WindowOf(cache, row, head);
    if (side == KvSide::kValue) base += cache.layout.window.value_codes;
    StoreToken(x, side, {{PackedCode::kExact, PackedRows::kNone}, 16}, head_dim, token % window,
               base, nullptr);
    return;
  }
  uint8_t* page = PageOf(cache, row, head, token);
  const PackedPlanes& planes = cache.layout.page;
  if (side == KvSide::kKey) {
    StoreToken(x, side, key, head_dim, token % kPageTokens, page, page + planes.key_parameters);
  } else {
    StoreToken(x, side, value, head_dim, token % kPageTokens, page + planes.value_codes,
               page + planes.value_parameters);
  }
}

// A group of tokens of one KV head. Values of a window take turns by two tokens.
struct GroupSource {
  const uint16_t* keys;
  const uint16_t* values;
  bool is_window;

  __device__ uint16_t Key(int64_t token, int64_t channel, int64_t head_dim) const {
    return keys[token * head_dim + channel];
  }
  __device__ uint16_t Value(int64_t token, int64_t channel, int64_t head_dim) const {
    return is_window ? values[ValueUnit(token, channel, head_dim, 16) / 2]
                     : values[token * head_dim + channel];
  }
};

// One block quantizes one group of one KV head, `first` is its first token within the page.
__device__ void QuantizeGroup(const GroupSource& source, const PackedLayout& layout,
                              const SideStore& key, const SideStore& value, int64_t first,
                              uint8_t* page) {
  __shared__ uint8_t levels[kPackedGroup * kMostHeadDim];
  const int64_t head_dim = layout.head_dim;
  if (key.side.rows == PackedRows::kChannel) {
    for (int64_t c = threadIdx.x; c < head_dim; c += blockDim.x) {
      float low = INFINITY, high = -INFINITY;
      for (int64_t t = 0; t < kPackedGroup; ++t) {
        const float x = FromBFloat16(source.Key(t, c, head_dim));
        low = fminf(low, x);
        high = fmaxf(high, x);
      }
      const KvtunerRow<RoundToBFloat16> row(low, high, key.bits);
      for (int64_t t = 0; t < kPackedGroup; ++t)
        levels[t * head_dim + c] =
            static_cast<uint8_t>(row.LevelOf(FromBFloat16(source.Key(t, c, head_dim))));
      WriteParameters(page + layout.page.key_parameters, first / kPackedGroup * head_dim + c,
                      row.scale, row.zero);
    }
    __syncthreads();
  }
  const int codes_per_unit = 16 / key.bits;
  const int64_t units = head_dim / codes_per_unit;
  for (int64_t i = threadIdx.x; i < kPackedGroup * units; i += blockDim.x) {
    const int64_t t = i / units, u = i % units;
    uint32_t unit = 0;
    if (key.side.rows == PackedRows::kChannel) {
      for (int j = 0; j < codes_per_unit; ++j)
        unit |= static_cast<uint32_t>(levels[t * head_dim + u * codes_per_unit + j])
                << (j * key.bits);
    } else {
      unit = source.Key(t, u, head_dim);
    }
    *reinterpret_cast<uint16_t*>(page + KeyUnit(first + t, u, head_dim, key.bits)) =
        static_cast<uint16_t>(unit);
  }
  uint8_t* codes = page + layout.page.value_codes;
  if (value.side.code == PackedCode::kExact) {
    for (int64_t i = threadIdx.x; i < kPackedGroup * head_dim; i += blockDim.x) {
      const int64_t t = i / head_dim, c = i % head_dim;
      *reinterpret_cast<uint16_t*>(codes + ValueUnit(first + t, c, head_dim, 16)) =
          source.Value(t, c, head_dim);
    }
    return;
  }
  const int64_t groups = head_dim / kPackedGroup;
  const int value_codes_per_unit = 16 / value.bits;
  for (int64_t i = threadIdx.x; i < kPackedGroup * groups; i += blockDim.x) {
    const int64_t t = i / groups, begin = i % groups * kPackedGroup;
    float low = INFINITY, high = -INFINITY;
    for (int64_t c = begin; c < begin + kPackedGroup; ++c) {
      const float x = FromBFloat16(source.Value(t, c, head_dim));
      low = fminf(low, x);
      high = fmaxf(high, x);
    }
    const KvtunerRow<RoundToBFloat16> row(low, high, value.bits);
    for (int64_t c = begin; c < begin + kPackedGroup; c += value_codes_per_unit) {
      uint32_t unit = 0;
      for (int j = 0; j < value_codes_per_unit; ++j)
        unit |= row.LevelOf(FromBFloat16(source.Value(t, c + j, head_dim))) << (j * value.bits);
      *reinterpret_cast<uint16_t*>(codes + ValueUnit(first + t, c / value_codes_per_unit, head_dim,
                                                     value.bits)) = static_cast<uint16_t>(unit);
    }
    WriteParameters(page + layout.page.value_parameters, (first + t) * groups + i % groups,
                    row.scale, row.zero);
  }
}

// Quantizes the groups among the first tokens of every sequence whose last token has attended.
__global__ void QuantizeGroupsKernel(PackedCache cache, PackedTokens input, SideStore key,
                                     SideStore value) {
  const int64_t row = RowOfSequence(cache, blockIdx.z), head = blockIdx.y;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kPackedGroup;
  if (token >= cache.layout.PackedTokens(cache.tokens[row])) return;
  const int64_t begin = InputAt(cache, input, row, head, token);
  QuantizeGroup({input.keys + begin, input.values + begin, false}, cache.layout, key, value,
                token % kPageTokens, PageOf(cache, row, head, token));
}

// Gives the other sequences what the first one has of its first pages, a page for each block, and
// of its window.
__global__ void CopyPagesKernel(PackedCache cache, int64_t pages) {
  const int64_t from = RowOfSequence(cache, 0);
  const int64_t to = RowOfSequence(cache, static_cast<int64_t>(blockIdx.y) + 1);
  const bool is_window = blockIdx.x == pages;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kPageTokens;
  const auto place = [&](int64_t row) {
    return reinterpret_cast<uint4*>(is_window ? WindowOf(cache, row, 0)
                                              : PageOf(cache, row, 0, token));
  };
  const PackedPlanes& planes = is_window ? cache.layout.window : cache.layout.page;
  const auto words = static_cast<int64_t>(cache.kv_heads * planes.bytes / sizeof(uint4));
  const uint4* source = place(from);
  uint4* target = place(to);
  for (int64_t i = threadIdx.x; i < words; i += blockDim.x) target[i] = source[i];
}

// Quantizes the windows that are full.
__global__ void FlushKernel(PackedCache cache, SideStore key, SideStore value) {
  const int64_t row = RowOfSequence(cache, blockIdx.y), head = blockIdx.x;
  const int64_t tokens = cache.tokens[row];
  if (tokens == 0 || tokens % kPackedGroup != 0) return;
  const uint8_t* window = WindowOf(cache, row, head);
  const int64_t token = tokens - kPackedGroup;
  QuantizeGroup({reinterpret_cast<const uint16_t*>(window),
                 reinterpret_cast<const uint16_t*>(window + cache.layout.window.value_codes), true},
                cache.layout, key, value, token % kPageTokens, PageOf(cache, row, head, token));
}

SideStore StoreOf(PackedSide side) { return {side, side.bits()}; }

dim3 HeadsOf(const PackedCache& cache, int64_t blocks) {
  return {static_cast<unsigned>(blocks), static_cast<unsigned>(cache.kv_heads),
          static_cast<unsigned>(cache.sequences)};
}

// Fills sequences with the same tokens: quantizing costs more than copying what was quantized.
void FillAlike(const PackedCache& cache, const PackedTokens& first, const CudaPlace& place) {
  PackedCache one = cache;
  one.sequences = 1;
  FillOnCuda(one, first, place);
  const int64_t pages = (first.count + kPageTokens - 1) / kPageTokens;
  const dim3 blocks(static_cast<unsigned>(pages + (cache.layout.window_tokens > 0 ? 1 : 0)),
                    static_cast<unsigned>(cache.sequences - 1));
  CopyPagesKernel<<<blocks, kCopyThreads, 0, StreamOf(place)>>>(cache, pages);
  RequireLaunched(kStoring);
}

}  // namespace

void FillOnCuda(const PackedCache& cache, const PackedTokens& first, const CudaPlace& place) {
  const CurrentDevice current(place.device);
  if (first.row_stride == 0 && cache.sequences > 1) return FillAlike(cache, first, place);
  const SideStore key = StoreOf(cache.layout.key), value = StoreOf(cache.layout.value);
  const int64_t blocks = (first.count + kFillTokens - 1) / kFillTokens;
  StoreTokensKernel<<<HeadsOf(cache, blocks), kFillTokens * kTokenThreads, 0, StreamOf(place)>>>(
      cache, first, key, value, true);
  if (cache.layout.window_tokens > 0 && first.count > kPackedGroup) {
    QuantizeGroupsKernel<<<HeadsOf(cache, first.count / kPackedGroup), kGroupThreads, 0,
                           StreamOf(place)>>>(cache, first, key, value);
  }
  RequireLaunched(kStoring);
}

void AppendOnCuda(const PackedCache& cache, const PackedTokens& newest, const CudaPlace& place) {
  const CurrentDevice current(place.device);
  StoreTokensKernel<<<HeadsOf(cache, 1), kTokenThreads, 0, StreamOf(place)>>>(
      cache, newest, StoreOf(cache.layout.key), StoreOf(cache.layout.value), false);
  RequireLaunched(kStoring);
}

void FlushOnCuda(const PackedCache& cache, const CudaPlace& place) {
  if (cache.layout.window_tokens == 0) return;
  const CurrentDevice current(place.device);
  const dim3 blocks(static_cast<unsigned>(cache.kv_heads), static_cast<unsigned>(cache.sequences));
  FlushKernel<<<blocks, kGroupThreads, 0, StreamOf(place)>>>(cache, StoreOf(cache.layout.key),
                                                             StoreOf(cache.layout.value));
  RequireLaunched(kStoring);
}

}  // namespace kvtune
