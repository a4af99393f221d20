// Decode attention on tensor cores. A block has one KV head of one group of sequences; its four
// warps take turns in tiles of 16 tokens and merge what they found in shared memory.
//
// The instruction m16n8k16 has the group's queries as its 16 rows. The order in which channels are
// summed is free, so a lane reads 16 neighbouring bytes of a key and the query is arranged to
// match; of values it reads 16 bytes of four tokens and pairs them up. So the cache goes from
// memory to registers to the instruction, and the loads of the next tile are on their way while the
// present one is computed. Tokens of one row of a group are hidden from the queries of the others.
#include <type_traits>

#include "lib/kernels/cuda/decode_attention.h"
#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/cuda/packed_fragment.cuh"

namespace kvtune {
namespace {

constexpr int kWarps = 4;
constexpr int kTileTokens = 16;
constexpr int kQueries = static_cast<int>(kGroupQueries);
// Below every score, but a number: weights of hidden tokens become 0 without a question.
constexpr float kHidden = -1e30f;

__device__ inline void ReadWords(const uint32_t* at, uint32_t (&words)[4]) {
  const uint4 read = *reinterpret_cast<const uint4*>(at);
  words[0] = read.x;
  words[1] = read.y;
  words[2] = read.z;
  words[3] = read.w;
}

// A stretch of tokens that a warp goes through tile by tile: what all rows of a group share, or the
// own tokens of one of them.
struct Segment {
  int key_row = 0, value_row = 0;
  int begin = 0, end = 0;
  int place = -1;  // of the row in the group; -1: all of them see it
};

// A group in the memory of its block.
struct Group {
  int key_row, value_row;  // of what is shared
  int shared;              // tokens
  int size;                // the most rows
  int rows[kQueries];      // -1: none
  int newest[kQueries];    // position, by row of the group

  // By all threads of a block.
  __device__ void Load(const DecodeAttention& job, const int64_t* numbers, int most) {
    const int i = static_cast<int>(threadIdx.x);
    if (i < most) {
      rows[i] = static_cast<int>(numbers[kGroupHeader + i]);
      newest[i] = rows[i] < 0 ? -1 : static_cast<int>(job.positions[rows[i]]);
    }
    if (i == 0) {
      key_row = static_cast<int>(numbers[0]);
      value_row = static_cast<int>(numbers[1]);
      shared = static_cast<int>(numbers[2]);
      size = most;
    }
  }
};

__device__ inline int FirstVisible(const DecodeAttention& job, int newest) {
  const int window = static_cast<int>(job.sliding_window);
  return window > 0 ? max(0, newest + 1 - window) : 0;
}

// Segment 0 is shared, segment i + 1 is what row i has of its own. Empty where there is none.
__device__ inline Segment SegmentOf(const DecodeAttention& job, const Group& group, int index) {
  if (index == 0) {
    Segment segment{group.key_row, group.value_row, group.shared, group.shared, -1};
    for (int i = 0; i < group.size; ++i) {
      if (group.rows[i] >= 0)
        segment.begin = min(segment.begin, FirstVisible(job, group.newest[i]));
    }
    segment.begin = segment.begin / kTileTokens * kTileTokens;
    return segment;
  }
  const int place = index - 1, row = group.rows[place];
  if (row < 0) return {};
  const int newest = group.newest[place];
  return {row, row, max(group.shared, FirstVisible(job, newest)), newest + 1, place};
}

// The tiles that one warp takes.
class Tiles {
 public:
  __device__ Tiles(const DecodeAttention& job, const Group& group, int warp)
      : job_(job), group_(group), segment_(SegmentOf(job, group, 0)), tile_(warp) {
    SkipEnds();
  }

  __device__ bool is_end() const { return index_ > group_.size; }
  __device__ const Segment& segment() const { return segment_; }
  __device__ int token() const { return segment_.begin + tile_ * kTileTokens; }
  __device__ void Next() {
    tile_ += kWarps;
    SkipEnds();
  }

 private:
  // The warps take turns over the ends of segments.
  __device__ void SkipEnds() {
    while (!is_end() && token() >= segment_.end) {
      tile_ -= (segment_.end - segment_.begin + kTileTokens - 1) / kTileTokens;
      ++index_;
      if (!is_end()) segment_ = SegmentOf(job_, group_, index_);
    }
  }

  const DecodeAttention& job_;
  const Group& group_;
  Segment segment_;
  int tile_;  // of the segment
  int index_ = 0;
};

template <int kHeadDim>
struct Results {
  float largest[kWarps][kQueries];
  float sum[kWarps][kQueries];
  float out[kWarps][kQueries][kHeadDim + 4];
};

// What a warp computes with and keeps. A lane has the queries group and group + 8 of the tile's
// scores, of the tokens 2 column and 2 column + 1 (and the same 8 tokens further on).
template <typename T, int kHeadDim>
class Warp {
 public:
  static constexpr bool kBFloat16 = std::is_same_v<T, __nv_bfloat16>;
  static constexpr int kSteps = kHeadDim / 16;
  static constexpr int kKeyLoads = kHeadDim / 32;
  static constexpr int kValueLoads = kHeadDim / 64;

  __device__ Warp(const DecodeAttention& job, const Group& group, int kv_head, int first_query)
      : job_(job),
        group_(group),
        kv_head_(kv_head),
        shared_heads_(static_cast<int>(job.query_heads / job.kv_heads)),
        lane_row_(threadIdx.x % 32 / 4),
        column_(threadIdx.x % 4) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      // Queries of one row stand together. With more than 16 heads, a block has some of them.
      const int query = first_query + lane_row_ + 8 * half;
      const int place = group.size > 1 ? query / shared_heads_ : 0;
      const int head = group.size > 1 ? query % shared_heads_ : query;
      const int row = place < group.size && head < shared_heads_ ? group.rows[place] : -1;
      place_[half] = row >= 0 ? place : -1;
      head_[half] = kv_head * shared_heads_ + head;
      newest_[half] = row >= 0 ? group.newest[place] : -1;
      LoadQuery(half, row);
    }
#pragma unroll
    for (auto& tile : out_) {
#pragma unroll
      for (float& x : tile) x = 0;
    }
  }

  __device__ void Run(int warp) {
    Tiles tiles(job_, group_, warp);
    if (tiles.is_end()) return;
    ReadKeys(tiles);
    ReadValues(tiles);
    while (true) {
      const int token = tiles.token(), end = tiles.segment().end;
      const int place = tiles.segment().place;
      float scores[2][4];
      ComputeScores(scores);
      tiles.Next();
      const bool goes_on = !tiles.is_end();
      if (goes_on) ReadKeys(tiles);
      Hide(token, end, place, scores);
      AddValues(scores);
      if (!goes_on) return;
      ReadValues(tiles);
    }
  }

  __device__ void Finish(Results<kHeadDim>& results, int warp) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = lane_row_ + 8 * half;
      sum_[half] = OverColumns(sum_[half], Plus());
      if (column_ == 0) {
        results.largest[warp][query] = largest_[half];
        results.sum[warp][query] = sum_[half];
      }
#pragma unroll
      for (int tile = 0; tile < kHeadDim / 8; ++tile) {
#pragma unroll
        for (int i = 0; i < 2; ++i)
          results.out[warp][query][Channel(tile, 2 * column_ + i)] = out_[tile][2 * half + i];
      }
    }
  }

 private:
  // The channel of a column of a tile of results.
  __device__ static int Channel(int tile, int column) {
    return tile / 8 * 64 + column * 8 + tile % 8;
  }
  template <typename Combine>
  __device__ static float OverColumns(float x, Combine combine) {
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return combine(x, __shfl_xor_sync(0xffffffffu, x, 2));
  }
  __device__ static uint32_t PairOf(float low, float high) {
    if constexpr (kBFloat16) {
      return BFloatsOf(low, high);
    } else {
      return HalvesOf(low, high);
    }
  }

  // Reads the lane's channels of a query, in the order of its keys.
  __device__ void LoadQuery(int half, int row) {
    const auto* query = static_cast<const T*>(job_.query) + head_[half] * job_.query_head_stride +
                        row * job_.query_row_stride;
#pragma unroll
    for (int load = 0; load < kKeyLoads; ++load) {
      uint32_t words[4] = {};
      if (row >= 0)
        ReadWords(reinterpret_cast<const uint32_t*>(query + (load * 4 + column_) * 8), words);
#pragma unroll
      for (int i = 0; i < 4; ++i) query_[2 * load + i / 2][i % 2][half] = words[i];
    }
  }

  __device__ const uint32_t* TokenOf(const void* side, int row, int token, int channel) const {
    const int64_t at =
        ((static_cast<int64_t>(row) * job_.kv_heads + kv_head_) * job_.max_tokens + token) *
            kHeadDim +
        channel;
    return reinterpret_cast<const uint32_t*>(static_cast<const T*>(side) + at);
  }

  // Tokens behind the end of a segment are read as its last one.
  __device__ void ReadKeys(const Tiles& tiles) {
    const Segment& segment = tiles.segment();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = min(tiles.token() + 8 * half + lane_row_, segment.end - 1);
      const uint32_t* key = TokenOf(job_.keys, segment.key_row, token, column_ * 8);
#pragma unroll
      for (int load = 0; load < kKeyLoads; ++load) ReadWords(key + load * 16, keys_[half][load]);
    }
  }
  __device__ void ReadValues(const Tiles& tiles) {
    const Segment& segment = tiles.segment();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = min(tiles.token() + i / 2 * 8 + 2 * column_ + i % 2, segment.end - 1);
      const uint32_t* value = TokenOf(job_.values, segment.value_row, token, lane_row_ * 8);
#pragma unroll
      for (int load = 0; load < kValueLoads; ++load) ReadWords(value + load * 32, values_[i][load]);
    }
  }

  // In units of log2.
  __device__ void ComputeScores(float (&scores)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (float& score : scores[half]) score = 0;
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const auto& query = query_[step];
        const auto& words = keys_[half][step / 2];
        MultiplyAdd<kBFloat16>(scores[half], query[0][0], query[0][1], query[1][0], query[1][1],
                               words[step % 2 * 2], words[step % 2 * 2 + 1]);
      }
#pragma unroll
      for (float& score : scores[half]) {
        if (job_.soft_cap > 0) score = job_.soft_cap * tanhf(score / job_.soft_cap);
        score *= kLog2E;
      }
    }
  }

  // Hides what lies behind the end of a segment, what a query's window has left behind and what
  // belongs to another row.
  __device__ void Hide(int token, int end, int place, float (&scores)[2][4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const bool sees = place_[half] >= 0 && (place < 0 || place == place_[half]);
      const int first = FirstVisible(job_, newest_[half]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = token + i / 2 * 8 + 2 * column_ + i % 2;
        if (!sees || at >= end || at < first) scores[i / 2][2 * half + i % 2] = kHidden;
      }
    }
  }

  __device__ void AddValues(float (&scores)[2][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = largest_[half];
#pragma unroll
      for (int i = 0; i < 4; ++i) largest = fmaxf(largest, scores[i / 2][2 * half + i % 2]);
      largest = OverColumns(largest, Larger());
      const float before = exp2f(largest_[half] - largest);
      largest_[half] = largest;
      sum_[half] *= before;
#pragma unroll
      for (auto& tile : out_) {
        tile[2 * half] *= before;
        tile[2 * half + 1] *= before;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& score = scores[i / 2][2 * half + i % 2];
        score = score > kHidden ? exp2f(score - largest) : 0.0f;
        sum_[half] += score;
      }
    }
    uint32_t weights[2][2];  // by 8 tokens, by 8 queries
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half)
        weights[i][half] = PairOf(scores[i][2 * half], scores[i][2 * half + 1]);
    }
#pragma unroll
    for (int load = 0; load < kValueLoads; ++load) {
#pragma unroll
      for (int channel = 0; channel < 8; ++channel) {
        const int word = channel / 2;
        const unsigned choice = channel % 2 == 0 ? 0x5410 : 0x7632;
        MultiplyAdd<kBFloat16>(out_[load * 8 + channel], weights[0][0], weights[0][1],
                               weights[1][0], weights[1][1],
                               __byte_perm(values_[0][load][word], values_[1][load][word], choice),
                               __byte_perm(values_[2][load][word], values_[3][load][word], choice));
      }
    }
  }

  const DecodeAttention& job_;
  const Group& group_;
  int kv_head_, shared_heads_;
  int lane_row_, column_;
  int place_[2];                  // of the group's rows, by query; -1: there is no such query
  int head_[2];                   // query head, by query
  int newest_[2];                 // position, by query
  uint32_t query_[kSteps][2][2];  // by channels 0 to 7 and 8 to 15 of a step, by query
  uint32_t keys_[2][kKeyLoads][4];
  uint32_t values_[4][kValueLoads][4];
  float largest_[2] = {kHidden, kHidden};
  float sum_[2] = {0, 0};
  float out_[kHeadDim / 8][4];
};

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(32 * kWarps)
    DecodeAttentionKernel(const __grid_constant__ DecodeAttention job) {
  extern __shared__ float shared[];
  auto& results = *reinterpret_cast<Results<kHeadDim>*>(shared);
  const int shared_heads = static_cast<int>(job.query_heads / job.kv_heads);
  const int size = static_cast<int>(RowsOfGroup(shared_heads));
  __shared__ Group group;
  group.Load(job, job.groups + blockIdx.x * (kGroupHeader + size), size);
  __syncthreads();
  const int kv_head = blockIdx.y, first_query = blockIdx.z * kQueries, warp = threadIdx.x / 32;
  Warp<T, kHeadDim> mine(job, group, kv_head, first_query);
  mine.Run(warp);
  mine.Finish(results, warp);
  __syncthreads();
  for (int query = warp; query < kQueries; query += kWarps) {
    const int place = size > 1 ? query / shared_heads : 0;
    const int head = size > 1 ? query % shared_heads : first_query + query;
    if (place >= size || head >= shared_heads || group.rows[place] < 0) continue;
    const int64_t query_head = static_cast<int64_t>(kv_head) * shared_heads + head;
    float largest = job.sinks == nullptr ? kHidden : job.sinks[query_head] * kLog2E;
    float sum = job.sinks == nullptr ? 0.0f : 1.0f;
    float weight[kWarps];
    const float sink = largest;
    for (int i = 0; i < kWarps; ++i) largest = fmaxf(largest, results.largest[i][query]);
    sum *= exp2f(sink - largest);
    for (int i = 0; i < kWarps; ++i) {
      weight[i] = exp2f(results.largest[i][query] - largest);
      sum += weight[i] * results.sum[i][query];
    }
    T* out = static_cast<T*>(job.out) +
             (static_cast<int64_t>(group.rows[place]) * job.query_heads + query_head) * kHeadDim;
    for (int channel = threadIdx.x % 32; channel < kHeadDim; channel += 32) {
      float x = 0;
      for (int i = 0; i < kWarps; ++i) x += weight[i] * results.out[i][query][channel];
      Store(x / sum, &out[channel]);
    }
  }
}

template <typename T, int kHeadDim>
void Launch(const DecodeAttention& attention, const CudaPlace& place) {
  const int64_t shared_heads = attention.query_heads / attention.kv_heads;
  const dim3 blocks(static_cast<unsigned>(attention.group_count),
                    static_cast<unsigned>(attention.kv_heads),
                    BlocksFor(shared_heads, kGroupQueries));
  constexpr size_t kBytes = sizeof(Results<kHeadDim>);
  const auto kernel = DecodeAttentionKernel<T, kHeadDim>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(kBytes));
  kernel<<<blocks, 32 * kWarps, kBytes, StreamOf(place)>>>(attention);
  RequireLaunched("attending to a cache");
}

template <typename T>
void LaunchFor(const DecodeAttention& attention, const CudaPlace& place) {
  switch (attention.head_dim) {
    case 64:
      return Launch<T, 64>(attention, place);
    case 128:
      return Launch<T, 128>(attention, place);
    default:
      return Launch<T, 256>(attention, place);
  }
}

}  // namespace

void DecodeAttentionOnCuda(const DecodeAttention& attention, const CudaPlace& place) {
  if (attention.group_count == 0) return;
  const CurrentDevice current(place.device);
  WithHalfType(place.type, [&](auto* element) {
    LaunchFor<std::remove_pointer_t<decltype(element)>>(attention, place);
  });
}

}  // namespace kvtune
