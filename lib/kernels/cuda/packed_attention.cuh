// Decode attention over a packed cache, on tensor cores, by reading every packed byte once.
//
// The pages of all KV heads of all sequences, each for up to eight query heads, stand in one row
// that is cut into equal parts, one for each block that fits on the device at a time
// (PackedSplits): so all blocks end together. A block's part may end in the middle of a sequence;
// its results per sequence are merged with those of its neighbours. The warps of a block take turns
// in stages of 16 to 64 tokens. The matrix instruction m16n8k16 has 16 tokens (scores) or 16
// channels (values) as its rows and the query heads as its 8 columns. Codes go into it as whole
// numbers in half precision, which are exact, and scales and zeros are folded out:
//
//   keys per token      score = (codes . q + zero * sum(q)) * scale
//   keys per channel    q takes the scales of a group, and zeros give one constant for each query
//   values per token    weights take the scales, and the zeros give one sum
//   values by groups    codes take scale and zero in half precision before the instruction
//
// The order in which channels are summed is free, so a lane reads 16 neighbouring bytes of a token
// and the query is arranged to match (Fragment). Values lie in pairs of tokens (packed_layout.h),
// which are the pairs that the instruction wants. So codes go from memory to registers to the
// instruction and never through shared memory; the loads of the next stage are on their way while
// the present one is computed. Splits are merged by their largest scores in float32.
//
// Ideas: BitDecoding (arXiv 2503.18773), TurboMind (LMDeploy, which feeds codes by magic numbers).
#pragma once

#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/packed_cuda.h"
#include "lib/kernels/cuda/packed_fragment.cuh"

namespace kvtune {

inline constexpr int kQueryTile = 8;  // query heads of a block
inline constexpr int kAttentionWarps = 4;
inline constexpr float kLog2E = 1.44269504088896341f;
// The weight of the largest score, as a power of two: weights times scales of values then stay
// normal numbers of half precision.
inline constexpr float kWeightBits = 5;
// By how much a score may exceed the largest one of before, in powers of two, before weights are
// counted anew. So most stages need not know the largest score of all lanes.
inline constexpr float kHeadroom = 2;
// Below every score, but a number: weights of hidden tokens become 0 without a question.
inline constexpr float kLowest = -1e30f;

// What a kernel needs to know, by value.
struct AttentionJob {
  PackedCache cache;
  PackedQuery query;
  PackedSplits splits;
  float* partial;       // [sequences, query_heads, slots, head_dim]
  float* partial_sums;  // [sequences, query_heads, slots, 2]: largest score, sum of weights
  int64_t query_tiles;  // of a KV head
};

// A sequence has fewer than 2^31 tokens (PackedCache::tokens).
struct TokenRange {
  int begin = 0, end = 0;
};

// The first token that the query sees.
__device__ inline int FirstVisible(const AttentionJob& job, int tokens) {
  const int64_t window = job.query.sliding_window;
  return window > 0 && tokens > window ? tokens - static_cast<int>(window) : 0;
}

// Who reads a row: a sequence alone, or a unit of sequences of which some pages are the same. A
// launch has rows of one kind. Kernels are compiled for each, because what units need would cost
// the others up to a sixth of their time.
enum class RowReaders { kSequence, kUnit };
inline RowReaders ReadersOf(const PackedCache& cache) {
  return cache.units.numbers == nullptr ? RowReaders::kSequence : RowReaders::kUnit;
}

// A row is one KV head of one unit with one tile of its query heads.
KVTUNE_HOST_DEVICE inline int64_t UnitCount(const PackedCache& cache) {
  return cache.units.numbers == nullptr ? cache.sequences : cache.units.count;
}
__device__ inline int64_t RowCount(const AttentionJob& job) {
  return UnitCount(job.cache) * job.cache.kv_heads * job.query_tiles;
}
// The first page of a block's part, counted over all rows; that of block `blocks` is the end.
__device__ inline int64_t PartBegin(const AttentionJob& job, int64_t block) {
  return block * (RowCount(job) * job.splits.pages) / job.splits.blocks;
}
// The block whose part has the page.
__device__ inline int64_t BlockOfPage(const AttentionJob& job, int64_t page) {
  return ((page + 1) * job.splits.blocks - 1) / (RowCount(job) * job.splits.pages);
}

__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Over the eight lanes that share lane % 4.
template <typename Combine>
__device__ inline float OverTokens(float x, Combine combine) {
#pragma unroll
  for (int offset = 4; offset < 32; offset *= 2)
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}

// The pages of one head of a sequence.
struct PageSource {
  const uint8_t* pages;  // of the head
  const int32_t* table;
  const PackedPlanes& planes;

  // REQUIRES: token >= 0
  __device__ const uint8_t* At(int token) const {
    return pages + table[static_cast<unsigned>(token) / kPageTokens] * kPageUnit;
  }
  __device__ static int RowOf(int token) {
    return static_cast<int>(static_cast<unsigned>(token) % kPageTokens);
  }
};

// The exact window of one head of a sequence, whose first token is `first`.
struct WindowSource {
  const uint8_t* window;
  int first;
  const PackedPlanes& planes;

  __device__ const uint8_t* At(int) const { return window; }
  __device__ int RowOf(int token) const { return token - first; }
};

// The results of the warps of a block, before they are merged.
template <int kPadded>
struct WarpResults {
  float reference[kAttentionWarps][kQueryTile];
  float sum[kAttentionWarps][kQueryTile];
  float out[kAttentionWarps][kQueryTile][kPadded + 4];
};

// What a block does for one row: up to kQueryTile queries of one KV head. Those of a sequence stand
// together.
struct RowPlace {
  int64_t sequence, head;  // of KV
  int64_t first_query;     // of each sequence
  int queries;             // of all sequences
  int of_sequence;         // queries
  int sequences;
  int same_pages;  // of the sequences

  __device__ int64_t SequenceOf(int query) const { return sequence + query / of_sequence; }
  __device__ int64_t HeadOf(int query) const { return first_query + query % of_sequence; }
};
// The place of a sequence that is read alone.
__device__ inline RowPlace PlaceOfRow(const AttentionJob& job, int64_t row) {
  const int64_t tile = row % job.query_tiles, head = row / job.query_tiles % job.cache.kv_heads;
  const int64_t queries = job.query.query_heads / job.cache.kv_heads;
  const int64_t left = queries - tile * kQueryTile;
  return {row / job.query_tiles / job.cache.kv_heads,
          head,
          head * queries + tile * kQueryTile,
          static_cast<int>(left < kQueryTile ? left : kQueryTile),
          kQueryTile,
          1,
          0};
}
__device__ inline RowPlace PlaceOfUnitRow(const AttentionJob& job, int64_t row) {
  const int64_t* unit = job.cache.units.numbers + row / job.cache.kv_heads * 3;
  const int64_t head = row % job.cache.kv_heads;
  const int queries = static_cast<int>(job.query.query_heads / job.cache.kv_heads);
  const int sequences = static_cast<int>(unit[1]);
  return {unit[0], head,      head * queries,           queries * sequences,
          queries, sequences, static_cast<int>(unit[2])};
}

// What a warp computes with and keeps of one stage.
template <typename Key, typename Value, int kTiles, RowReaders kReaders>
class WarpAttention {
 public:
  static constexpr int kHeadDim = Key::kHeadDim;
  static constexpr int kPadded = Key::kPadded;
  static constexpr int kStageTokens = 16 * kTiles;
  static constexpr int kSteps = kPadded / 16;

  __device__ WarpAttention(const AttentionJob& job, const RowPlace& place, uint32_t* key_parameters)
      : job_(job),
        group_(threadIdx.x % 32 / 4),
        column_(threadIdx.x % 4),
        shared_parameters_(key_parameters) {
    if (group_ < place.queries) {
      const int64_t cache_row = RowOfSequence(job.cache, place.SequenceOf(group_));
      query_row_ = job.query.query + QueryAt(job.query, kHeadDim, cache_row, place.HeadOf(group_));
    }
#pragma unroll
    for (auto& tile : out_) {
#pragma unroll
      for (float& x : tile) x = 0;
    }
  }

  // Makes only the queries first to last - 1 attend from now on.
  __device__ void Select(int first, int last) {
    static_assert(kReaders == RowReaders::kUnit);
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const int query = 2 * column_ + q;
      hidden_[q] = query < first || query >= last ? -INFINITY : INFINITY;
    }
  }

  // Attends to the tokens visible_begin to range.end; the warp takes every `warps`-th stage, from
  // the first token of the range on.
  template <typename Source>
  __device__ void Run(const Source& source, TokenRange range, int visible_begin, int warp,
                      int warps) {
    const int step = kStageTokens * warps;
    int token = range.begin + kStageTokens * warp;
    if (token >= range.end) return;
    // Lanes may still read the parameters of the run before this one.
    if constexpr (kReaders == RowReaders::kUnit && Key::kRows == PackedRows::kChannel) __syncwarp();
    const uint8_t* page = source.At(token);
    ReadKeys(source, page, token, 0);
    ReadValues(source, page, token);
    LoadQuery();  // It comes while the first stage is on its way.
    const uint8_t* next_page = token + step < range.end ? source.At(token + step) : page;
    int stage = 0;
    for (; token < range.end; token += step, ++stage) {
      const int next = token + step;
      float scores[kTiles][4];
      ComputeScores(stage % 2, scores);
      if constexpr (kReaders == RowReaders::kUnit) HideUnselected(scores);
      if (next < range.end) ReadKeys(source, next_page, next, (stage + 1) % 2);
      const uint8_t* later_page = next + step < range.end ? source.At(next + step) : next_page;
      if (__builtin_expect(token < visible_begin || token + kStageTokens > range.end, 0))
        HideOthers(token, visible_begin, range.end, scores);
      AddValues(scores);
      if (next < range.end) ReadValues(source, next_page, next);
      next_page = later_page;
    }
  }

  // Writes what the warp has to shared memory.
  __device__ void Finish(WarpResults<kPadded>& results, int warp) {
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      sum_[q] = OverTokens(sum_[q], Plus());
      if constexpr (Value::kHasTokenRows) {
        zero_sum_[q] = OverTokens(zero_sum_[q], Plus());
        weight_sum_[q] = OverTokens(weight_sum_[q], Plus());
      }
      if (group_ == 0) {
        results.reference[warp][2 * column_ + q] = reference_[q];
        results.sum[warp][2 * column_ + q] = sum_[q];
      }
    }
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int pair = 2 * i + j / 2;
        float x = out_[i][j];
        if constexpr (Value::kHasTokenRows)
          x += zero_sum_[j % 2] -
               (Value::ValueOffset(pair) + Value::kZeroShift) * weight_sum_[j % 2];
        results.out[warp][2 * column_ + j % 2][Value::ValueChannel(pair, group_)] = x;
      }
    }
  }

 private:
  static constexpr int kValueParameters =
      Value::kRows == PackedRows::kTokenGroup ? Value::kLoads * 4 : 2;

  // Reads the lane's channels of its query, in the order of its keys.
  __device__ void LoadQuery() {
    // Keys in bfloat16 meet the query as it is; other keys meet it in half precision with the
    // scale of the scores.
    const float factor = Key::kIsExact ? 1.0f : job_.query.scale * kLog2E;
    float sum = 0, offset = 0;
#pragma unroll
    for (int word = 0; word < Key::kWords; ++word) {
      // A word of keys has the codes of neighbouring channels.
      constexpr int kChannels = 2 * Key::kPairs;
      const int first = Key::KeyChannel(word * Key::kPairs, column_);
      uint32_t elements[kChannels / 2] = {};
      if (query_row_ != nullptr && first < kHeadDim) {
        const auto* from = reinterpret_cast<const uint32_t*>(query_row_ + first);
#pragma unroll
        for (int i = 0; i < kChannels / 2; ++i) elements[i] = from[i];
      }
      const auto element = [&](int i) {
        const uint32_t both = elements[i / 2];
        const float x = __uint_as_float(i % 2 == 0 ? both << 16 : both & 0xffff0000u) * factor;
        return Key::kIsExact ? x : fminf(fmaxf(x, -65504.0f), 65504.0f);
      };
#pragma unroll
      for (int p = 0; p < Key::kPairs; ++p) {
        const int pair = word * Key::kPairs + p;
        const float x = element(p), y = element(p + Key::kPairs);
        query_[pair] = Key::kIsExact ? BFloatsOf(x, y) : HalvesOf(x, y);
        const float2 rounded = __half22float2(AsHalves(query_[pair]));
        sum += rounded.x + rounded.y;
        offset += (rounded.x + rounded.y) * (Key::KeyOffset(pair) + Key::kZeroShift);
      }
    }
    if constexpr (Key::kHasTokenRows) {
      OfMyQueries(sum, query_sum_);
      OfMyQueries(-offset, first_score_);
    }
  }

  // Sums over the lanes of a query, of which each has a part, and gives every lane the sums of the
  // two queries of its column.
  __device__ void OfMyQueries(float part, float (&sums)[2]) const {
    part += __shfl_xor_sync(0xffffffffu, part, 1);
    part += __shfl_xor_sync(0xffffffffu, part, 2);
#pragma unroll
    for (int q = 0; q < 2; ++q) sums[q] = __shfl_sync(0xffffffffu, part, (2 * column_ + q) * 4);
  }

  template <typename Source>
  __device__ void ReadKeys(const Source& source, const uint8_t* page, int token, int buffer) {
    const int first = source.RowOf(token);
    const uint8_t* codes = page + (first + group_) * kKeyRowBytes + Key::LoadOffset(0, column_, 4);
    const uint32_t* parameters =
        reinterpret_cast<const uint32_t*>(page + source.planes.key_parameters) + first + group_;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = tile * 16 + half * 8;
        Key::template Read<kKeyRowBytes, 4>(codes + row * kKeyRowBytes, column_, keys_[tile][half]);
        if constexpr (Key::kHasTokenRows) key_parameters_[tile][half] = parameters[row];
      }
    }
    if constexpr (Key::kRows == PackedRows::kChannel) {
      const uint32_t* rows =
          reinterpret_cast<const uint32_t*>(page + source.planes.key_parameters) +
          first / static_cast<int>(kPackedGroup) * kHeadDim;
      uint32_t* to = shared_parameters_ + buffer * kParameterWords;
      for (int i = threadIdx.x % 32 * 4; i < kTiles / 2 * kHeadDim; i += 128) {
        const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to + i));
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(rows + i));
      }
      asm volatile("cp.async.commit_group;");
    }
  }

  template <typename Source>
  __device__ void ReadValues(const Source& source, const uint8_t* page, int token) {
    const int first = source.RowOf(token);
    const uint8_t* codes = page + source.planes.value_codes +
                           (first / 2 + column_) * kValueRowBytes + Value::LoadOffset(0, group_, 8);
    const auto* parameters =
        reinterpret_cast<const uint32_t*>(page + source.planes.value_parameters);
    const uint32_t* of_tokens = parameters + first + group_;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int pair_row = tile * 8 + half * 4;
        Value::template Read<kValueRowBytes, 8>(codes + pair_row * kValueRowBytes, group_,
                                                values_[tile][half]);
        if constexpr (Value::kHasTokenRows)
          value_parameters_[tile][half] = of_tokens[tile * 16 + half * 8];
        if constexpr (Value::kRows == PackedRows::kTokenGroup) {
#pragma unroll
          for (int load = 0; load < Value::kLoads; ++load) {
            const int channel =
                Value::ValueChannel(load * Value::kWordsOfLoad * Value::kPairs, group_);
            const int channel_group = channel < kHeadDim ? channel / 32 : 0;
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              value_parameters_[tile][(load * 2 + half) * 2 + i] =
                  parameters[(first + 2 * (pair_row + column_) + i) * kGroups + channel_group];
            }
          }
        }
      }
    }
  }

  // scores: in units of log2, of the lane's tokens group and group + 8 of each tile, for the two
  // queries of its column
  __device__ void ComputeScores(int buffer, float (&scores)[kTiles][4]) {
    if constexpr (Key::kRows == PackedRows::kChannel) {
      asm volatile("cp.async.wait_group 0;");
      __syncwarp();
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[tile][i] = Key::kHasTokenRows ? first_score_[i % 2] : 0.0f;
    }
    if constexpr (Key::kRows == PackedRows::kChannel) {
#pragma unroll
      for (int group = 0; group < kTiles / 2; ++group) {
        uint32_t scaled[2 * kSteps];
        float constants[2];
        ScaleQuery(shared_parameters_ + buffer * kParameterWords + group * kHeadDim, scaled,
                   constants);
#pragma unroll
        for (int tile = 2 * group; tile < 2 * group + 2; ++tile) {
#pragma unroll
          for (int i = 0; i < 4; ++i) scores[tile][i] = constants[i % 2];
          MultiplyTile(tile, scaled, scores[tile]);
        }
      }
    } else {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        MultiplyTile(tile, query_, scores[tile]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float& score = scores[tile][i];
          if constexpr (Key::kHasTokenRows) {
            const uint32_t parameters = key_parameters_[tile][i / 2];
            score = (score + ZeroOf(parameters) * query_sum_[i % 2]) * ScaleOf(parameters);
          }
          if constexpr (Key::kIsExact) score *= job_.query.scale * kLog2E;
        }
      }
    }
    if (__builtin_expect(job_.query.soft_cap > 0, 0)) {
      const float cap = job_.query.soft_cap * kLog2E;
      const float twice = 2 * kLog2E / cap;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (float& score : scores[tile])  // cap * tanh(score / cap)
          score = cap - __fdividef(2 * cap, Exp2(fminf(score * twice, 120.0f)) + 1);
      }
    }
  }

  __device__ void MultiplyTile(int tile, const uint32_t (&query)[2 * kSteps], float (&scores)[4]) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      MultiplyAdd<Key::kIsExact>(
          scores, Key::KeyPair(keys_[tile][0], 2 * i), Key::KeyPair(keys_[tile][1], 2 * i),
          Key::KeyPair(keys_[tile][0], 2 * i + 1), Key::KeyPair(keys_[tile][1], 2 * i + 1),
          query[2 * i], query[2 * i + 1]);
    }
  }

  // The query times the scales of the channels, and its product with scales times zeros.
  __device__ void ScaleQuery(const uint32_t* parameters, uint32_t (&scaled)[2 * kSteps],
                             float (&constants)[2]) const {
    float constant = 0;
#pragma unroll
    for (int pair = 0; pair < 2 * kSteps; ++pair) {
      const float2 q = __half22float2(AsHalves(query_[pair]));
      const int channel = Key::KeyChannel(pair, column_);
      const bool is_there = channel < kHeadDim;
      const uint32_t low = is_there ? parameters[channel] : 0;
      const uint32_t high = is_there ? parameters[channel + Key::kPairs] : 0;
      const float x = q.x * ScaleOf(low), y = q.y * ScaleOf(high);
      scaled[pair] =
          HalvesOf(fminf(fmaxf(x, -65504.0f), 65504.0f), fminf(fmaxf(y, -65504.0f), 65504.0f));
      const float2 rounded = __half22float2(AsHalves(scaled[pair]));
      const float shift = Key::kZeroShift + Key::KeyOffset(pair);
      constant += rounded.x * (ZeroOf(low) - shift) + rounded.y * (ZeroOf(high) - shift);
    }
    OfMyQueries(constant, constants);
  }

  // Takes the queries that are not selected out of the present stage.
  __device__ void HideUnselected(float (&scores)[kTiles][4]) {
#pragma unroll
    for (auto& tile : scores) {
#pragma unroll
      for (int i = 0; i < 4; ++i) tile[i] = fminf(tile[i], hidden_[i % 2]);
    }
  }

  // Takes the tokens before `begin` and from `end` on out of the present stage.
  __device__ void HideOthers(int token, int begin, int end, float (&scores)[kTiles][4]) {
    const auto is_hidden = [&](int t) { return t < begin || t >= end; };
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (is_hidden(token + tile * 16 + half * 8 + group_)) {
          scores[tile][2 * half] = scores[tile][2 * half + 1] = -INFINITY;
          if constexpr (Value::kHasTokenRows) value_parameters_[tile][half] = 0;
        }
        const int pair = token + tile * 16 + half * 8 + 2 * column_;
        if constexpr (Value::kRows == PackedRows::kNone) {  // Other codes are always numbers.
          const uint32_t mask =
              (is_hidden(pair) ? 0u : 0xffffu) | (is_hidden(pair + 1) ? 0u : 0xffff0000u);
#pragma unroll
          for (uint32_t& word : values_[tile][half]) word &= mask;
        }
        if constexpr (Value::kRows == PackedRows::kTokenGroup) {
#pragma unroll
          for (int load = 0; load < Value::kLoads; ++load) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              if (is_hidden(pair + i)) value_parameters_[tile][(load * 2 + half) * 2 + i] = 0;
            }
          }
        }
      }
    }
  }

  __device__ void AddValues(const float (&scores)[kTiles][4]) {
    float largest[2];
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      largest[q] = kLowest;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
        largest[q] = fmaxf(largest[q], fmaxf(scores[tile][q], scores[tile][2 + q]));
    }
    if (__any_sync(0xffffffffu, largest[0] > ceiling_[0] || largest[1] > ceiling_[1]))
      RaiseCeiling(largest);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      uint32_t weights[2];  // of the tokens group and group + 8, for the two queries
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float weight[2];
#pragma unroll
        for (int q = 0; q < 2; ++q) {
          weight[q] = Exp2(scores[tile][2 * half + q] - reference_[q]);
          sum_[q] += weight[q];
        }
        if constexpr (Value::kHasTokenRows) {
          const uint32_t parameters = value_parameters_[tile][half];
          const float scale = ScaleOf(parameters), zero = ZeroOf(parameters);
          weights[half] = HalvesOf(weight[0] * scale, weight[1] * scale);
          const float2 rounded = __half22float2(AsHalves(weights[half]));
          zero_sum_[0] += rounded.x * zero;
          zero_sum_[1] += rounded.y * zero;
          weight_sum_[0] += rounded.x;
          weight_sum_[1] += rounded.y;
        } else {
          weights[half] =
              Value::kIsExact ? BFloatsOf(weight[0], weight[1]) : HalvesOf(weight[0], weight[1]);
        }
        weights[half] = Transposed(weights[half]);
      }
      MultiplyValues(tile, weights);
    }
  }

  // Moves the reference of the weights up to the largest scores, of which every lane has a part.
  __device__ void RaiseCeiling(const float (&largest)[2]) {
    float factor[2];
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const float all = fmaxf(OverTokens(largest[q], Larger()), reference_[q] + kWeightBits);
      factor[q] = Exp2(reference_[q] + kWeightBits - all);
      reference_[q] = all - kWeightBits;
      ceiling_[q] = all + kHeadroom;
      sum_[q] *= factor[q];
      zero_sum_[q] *= factor[q];
      weight_sum_[q] *= factor[q];
    }
#pragma unroll
    for (auto& tile : out_) {
#pragma unroll
      for (int i = 0; i < 4; ++i) tile[i] *= factor[i % 2];
    }
  }

  __device__ void MultiplyValues(int tile, const uint32_t (&weights)[2]) {
    if constexpr (Value::kRows == PackedRows::kTokenGroup) {
      constexpr int kPairsOfLoad = Value::kWordsOfLoad * Value::kPairs;
#pragma unroll
      for (int load = 0; load < Value::kLoads; ++load) {
        __half2 scale[2], offset[2];  // of the tokens of a pair
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint32_t a = value_parameters_[tile][(load * 2 + half) * 2];
          const uint32_t b = value_parameters_[tile][(load * 2 + half) * 2 + 1];
          scale[half] = __floats2half2_rn(ScaleOf(a), ScaleOf(b));
          offset[half] = __floats2half2_rn((ZeroOf(a) - Value::kZeroShift) * ScaleOf(a),
                                           (ZeroOf(b) - Value::kZeroShift) * ScaleOf(b));
        }
        const auto value = [&](int half, int pair) {
          const __half2 code = __hsub2(AsHalves(Value::ValuePair(values_[tile][half], pair)),
                                       __float2half2_rn(Value::ValueOffset(pair)));
          return AsBits(__hfma2(code, scale[half], offset[half]));
        };
#pragma unroll
        for (int i = load * kPairsOfLoad / 2; i < (load + 1) * kPairsOfLoad / 2; ++i)
          MultiplyAdd<false>(out_[i], value(0, 2 * i), value(0, 2 * i + 1), value(1, 2 * i),
                             value(1, 2 * i + 1), weights[0], weights[1]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        MultiplyAdd<Value::kIsExact>(out_[i], Value::ValuePair(values_[tile][0], 2 * i),
                                     Value::ValuePair(values_[tile][0], 2 * i + 1),
                                     Value::ValuePair(values_[tile][1], 2 * i),
                                     Value::ValuePair(values_[tile][1], 2 * i + 1), weights[0],
                                     weights[1]);
    }
  }

 public:
  // The words of shared memory that a warp has for one stage's parameters of keys per channel.
  static constexpr int kParameterWords =
      Key::kRows == PackedRows::kChannel ? kTiles / 2 * kHeadDim : 1;

 private:
  static constexpr int kKeyRowBytes = kHeadDim * Key::kBits / 8;
  static constexpr int kValueRowBytes = kHeadDim * Value::kBits / 4;  // of two tokens
  static constexpr int kGroups = kHeadDim / static_cast<int>(kPackedGroup);

  const AttentionJob& job_;
  const int group_, column_;             // lane / 4 and lane % 4
  uint32_t* shared_parameters_;          // [2, kParameterWords]
  const uint16_t* query_row_ = nullptr;  // of the lane's query; null: there is none
  uint32_t query_[2 * kSteps];
  float query_sum_[2];
  float first_score_[2];  // minus what the offsets and shifts of the codes add to a score
  uint32_t keys_[kTiles][2][Key::kWords];
  uint32_t values_[kTiles][2][Value::kWords];
  uint32_t key_parameters_[kTiles][2];
  uint32_t value_parameters_[kTiles][kValueParameters];
  float out_[kSteps][4];
  // A weight is 2 to the power of its score minus the reference, for the two queries of the lane.
  float reference_[2] = {kLowest, kLowest};
  float ceiling_[2] = {kLowest, kLowest};   // A score above it moves the reference.
  float hidden_[2] = {INFINITY, INFINITY};  // no score is above: minus infinity hides a query
  float sum_[2] = {0, 0};                   // of the weights
  float weight_sum_[2] = {0, 0};  // of the weights times scales, as the instruction sees them
  float zero_sum_[2] = {0, 0};    // of those times zeros
};

// How many tiles of 16 tokens a stage has, and how many blocks a multiprocessor is to hold, which
// limits the registers of a lane. What was fastest on an H200: three blocks, and as long stages as
// leave no register to be spilled. Keys per channel need whole groups.
template <typename Key, typename Value>
struct Stage {
  static constexpr bool kHasChannelKeys = Key::kRows == PackedRows::kChannel;
  // What a tile takes of a lane's registers: codes, scores and parameters; and how many there are
  // for all tiles.
  static constexpr int kTileRegisters = Key::kPadded * (Key::kBits + Value::kBits) / 64 + 8;
  static constexpr int kRegisters = 80;
  static constexpr int kFitting = kRegisters / kTileRegisters;
  static constexpr int kTiles = kHasChannelKeys ? 2 : kFitting >= 4 ? 4 : kFitting >= 2 ? 2 : 1;
  static constexpr bool kIsWide = Key::kBits + Value::kBits > 8;
  static constexpr int kBlocks = Key::kPadded > 128 ? 1 : kHasChannelKeys&& kIsWide ? 2 : 3;
};

// Merges the warps and writes their result for the row to a slot.
template <int kHeadDim, int kPadded>
__device__ void MergeWarps(const AttentionJob& job, const WarpResults<kPadded>& results,
                           const RowPlace& place, int64_t slot) {
  const int64_t slots = job.splits.slots();
  for (int i = threadIdx.x; i < place.queries * kHeadDim; i += blockDim.x) {
    const int query = i / kHeadDim, channel = i % kHeadDim;
    float largest = kLowest;
#pragma unroll
    for (int w = 0; w < kAttentionWarps; ++w) largest = fmaxf(largest, results.reference[w][query]);
    float sum = 0, out = 0;
#pragma unroll
    for (int w = 0; w < kAttentionWarps; ++w) {
      const float weight = Exp2(results.reference[w][query] - largest);
      sum += weight * results.sum[w][query];
      out += weight * results.out[w][query][channel];
    }
    const int64_t at =
        (place.SequenceOf(query) * job.query.query_heads + place.HeadOf(query)) * slots + slot;
    job.partial[at * kHeadDim + channel] = out;
    if (channel == 0) {
      job.partial_sums[at * 2] = largest;
      job.partial_sums[at * 2 + 1] = sum;
    }
  }
}

// Attends to the pages of one sequence: those that are the pages `begin` to `end` - 1 of a row, of
// which `before` are other sequences' ones.
template <typename Attention>
__device__ void AttendToSequence(const AttentionJob& job, int64_t sequence, int64_t head,
                                 int before, int begin, int end, int warp, Attention& attention) {
  const PackedCache& cache = job.cache;
  const int64_t cache_row = RowOfSequence(cache, sequence);
  const int tokens = cache.tokens[cache_row];
  const int visible = FirstVisible(job, tokens);
  const int64_t packed = cache.layout.PackedTokens(tokens);
  const int first_page = visible / static_cast<int>(kPageTokens) - before;
  const int64_t last = static_cast<int64_t>(first_page + end) * kPageTokens;
  const TokenRange range{(first_page + begin) * static_cast<int>(kPageTokens),
                         static_cast<int>(last < packed ? last : packed)};
  attention.Run(PageSource{cache.pages + head * cache.layout.page.bytes,
                           cache.page_table + cache_row * cache.table_stride, cache.layout.page},
                range, visible, warp, kAttentionWarps);
}

// Attends to the pages `begin` to `end` - 1 of a unit's row: first those that are the same for all
// of its sequences, then the other ones of each sequence in turn.
template <typename Attention>
__device__ void AttendToUnit(const AttentionJob& job, const RowPlace& place, int begin, int end,
                             int warp, Attention& attention) {
  const int own_pages = static_cast<int>(job.splits.sequence_pages) - place.same_pages;
  for (int page = begin, next; page < end; page = next) {
    const bool is_same = page < place.same_pages;
    const int member = is_same ? 0 : (page - place.same_pages) / own_pages;
    if (member >= place.sequences) return;
    const int before = member * own_pages;  // pages of earlier sequences
    const int behind = is_same ? place.same_pages : place.same_pages + before + own_pages;
    next = end < behind ? end : behind;
    if (place.sequences > 1)
      attention.Select(is_same ? 0 : member * place.of_sequence,
                       is_same ? kQueryTile : (member + 1) * place.of_sequence);
    AttendToSequence(job, place.sequence + member, place.head, before, page, next, warp, attention);
  }
}

template <typename Key, typename Value, RowReaders kReaders>
__global__ void __launch_bounds__(32 * kAttentionWarps, Stage<Key, Value>::kBlocks)
    PackedAttentionKernel(const __grid_constant__ AttentionJob job) {
  constexpr int kHeadDim = Key::kHeadDim;
  constexpr bool kHasWindow =
      Key::kRows == PackedRows::kChannel || Value::kRows == PackedRows::kTokenGroup;
  using Exact = Fragment<PackedCode::kExact, PackedRows::kNone, kHeadDim>;
  using Attention = WarpAttention<Key, Value, Stage<Key, Value>::kTiles, kReaders>;
  __shared__ WarpResults<Key::kPadded> results;
  __shared__ alignas(16) uint32_t parameters[kAttentionWarps][2 * Attention::kParameterWords];
  const PackedCache& cache = job.cache;
  const int warp = threadIdx.x / 32;
  if (!kHasWindow || blockIdx.x < job.splits.blocks) {
    const int64_t end = PartBegin(job, static_cast<int64_t>(blockIdx.x) + 1);
    for (int64_t page = PartBegin(job, blockIdx.x), next; page < end; page = next) {
      const int64_t row = page / job.splits.pages, first_of_row = row * job.splits.pages;
      next = end < first_of_row + job.splits.pages ? end : first_of_row + job.splits.pages;
      const int first = static_cast<int>(page - first_of_row);
      const int behind = static_cast<int>(next - first_of_row);
      constexpr bool kIsAlone = kReaders == RowReaders::kSequence;
      const RowPlace place = kIsAlone ? PlaceOfRow(job, row) : PlaceOfUnitRow(job, row);
      Attention attention(job, place, parameters[warp]);
      if constexpr (kIsAlone) {
        AttendToSequence(job, place.sequence, place.head, 0, first, behind, warp, attention);
      } else {
        AttendToUnit(job, place, first, behind, warp, attention);
      }
      __syncthreads();  // The results of the row before have been read.
      attention.Finish(results, warp);
      __syncthreads();
      MergeWarps<kHeadDim>(job, results, place, blockIdx.x - BlockOfPage(job, first_of_row));
    }
  } else if constexpr (kHasWindow) {
    const RowPlace place = PlaceOfRow(job, blockIdx.x - job.splits.blocks);
    const int64_t cache_row = RowOfSequence(cache, place.sequence);
    const int tokens = cache.tokens[cache_row];
    const int first = static_cast<int>(cache.layout.PackedTokens(tokens));
    WarpAttention<Exact, Exact, 1, RowReaders::kSequence> attention(job, place, nullptr);
    attention.Run(WindowSource{WindowOf(cache, cache_row, place.head), first, cache.layout.window},
                  {first, tokens}, FirstVisible(job, tokens), warp, kAttentionWarps);
    attention.Finish(results, warp);
    __syncthreads();
    MergeWarps<kHeadDim>(job, results, place, job.splits.slots() - 1);
  }
}

// The kernel of a layout.
using AttentionKernel = void (*)(AttentionJob);
template <int kHeadDim>
AttentionKernel FindAttentionKernel(PackedSide key, PackedSide value, RowReaders readers);

// Calls `function` with the fragment of a side whose integers have such rows. FP8 goes with rows
// per token alone.
template <int kHeadDim, PackedRows kRows, typename Function>
void WithFragment(PackedSide side, const Function& function) {
  using enum PackedCode;
  switch (side.code) {
    case kInt2:
      return function(Fragment<kInt2, kRows, kHeadDim>());
    case kInt4:
      return function(Fragment<kInt4, kRows, kHeadDim>());
    case kInt8:
      return function(Fragment<kInt8, kRows, kHeadDim>());
    case kFp8:
      if constexpr (kRows == PackedRows::kToken)
        function(Fragment<kFp8, PackedRows::kNone, kHeadDim>());
      return;
    case kExact:
      return function(Fragment<kExact, PackedRows::kNone, kHeadDim>());
  }
}

template <int kHeadDim>
AttentionKernel AttentionKernelOf(PackedSide key, PackedSide value, RowReaders readers) {
  AttentionKernel kernel = nullptr;
  const auto find = [&]<PackedRows kKeyRows, PackedRows kValueRows>() {
    WithFragment<kHeadDim, kKeyRows>(key, [&]<typename Key>(Key) {
      WithFragment<kHeadDim, kValueRows>(value, [&]<typename Value>(Value) {
        kernel = readers == RowReaders::kSequence
                     ? PackedAttentionKernel<Key, Value, RowReaders::kSequence>
                     : PackedAttentionKernel<Key, Value, RowReaders::kUnit>;
      });
    });
  };
  if (key.has_window() || value.has_window()) {
    find.template operator()<PackedRows::kChannel, PackedRows::kTokenGroup>();
  } else {
    find.template operator()<PackedRows::kToken, PackedRows::kToken>();
  }
  return kernel;
}

}  // namespace kvtune
