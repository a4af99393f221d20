// What one warp does in decode attention over a packed cache: it takes stages of tokens from memory
// through registers to the matrix instruction. packed_attention.cuh says why, and what its block
// makes of the results.
#pragma once

#include "lib/kernels/cuda/packed_fragment.cuh"
#include "lib/kernels/cuda/packed_rows.cuh"

namespace kvtune {

inline constexpr int kAttentionWarps = 4;
// The weight of the largest score, as a power of two: weights times scales of values then stay
// normal numbers of half precision.
inline constexpr float kWeightBits = 5;
// By how much a score may exceed the largest one of before, in powers of two, before weights are
// counted anew. So most stages need not know the largest score of all lanes.
inline constexpr float kHeadroom = 2;
// Below every score, but a number: weights of hidden tokens become 0 without a question.
inline constexpr float kLowest = -1e30f;

// A sequence has fewer than 2^31 tokens (PackedCache::tokens).
struct TokenRange {
  int begin = 0, end = 0;
};

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
}  // namespace kvtune
