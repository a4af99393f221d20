#include "lib/kernels/packed_cpu.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "lib/kernels/kvtuner_row.h"
#include "lib/kernels/vector_math.h"

namespace kvtune {
namespace {

using ModelRow = KvtunerRow<RoundToBFloat16>;

void StoreUnit(uint8_t* at, uint32_t unit) {
  const auto bits = static_cast<uint16_t>(unit);
  std::memcpy(at, &bits, sizeof(bits));
}

struct RowParametersBits {
  float scale, zero;
};
void StoreParameters(uint8_t* plane, int64_t row, const ModelRow& values) {
  const uint32_t bits =
      BFloat16Bits(values.scale) | (static_cast<uint32_t>(BFloat16Bits(values.zero)) << 16);
  std::memcpy(plane + row * kBytesPerParameters, &bits, sizeof(bits));
}
RowParametersBits LoadParameters(const uint8_t* plane, int64_t row) {
  uint32_t bits;
  std::memcpy(&bits, plane + row * kBytesPerParameters, sizeof(bits));
  return {FromBits(bits << 16), FromBits(bits & 0xffff0000u)};
}

// The planes of one side in a page or a window.
struct SidePlanes {
  uint8_t* codes;
  uint8_t* parameters;
};
SidePlanes PlanesOf(uint8_t* base, const PackedPlanes& planes, KvSide side) {
  return side == KvSide::kKey
             ? SidePlanes{base, base + planes.key_parameters}
             : SidePlanes{base + planes.value_codes, base + planes.value_parameters};
}

const PackedSide& SideOf(const PackedLayout& layout, KvSide side) {
  return side == KvSide::kKey ? layout.key : layout.value;
}

constexpr PackedSide kExactSide{};

// Writes `count` codes of a token, from the channel `begin` on, which begins a unit. code(i) is the
// code of the channel begin + i.
template <typename Code>
void StoreCodes(uint8_t* codes, KvSide side, int bits, int64_t head_dim, int64_t token,
                int64_t begin, int64_t count, const Code& code) {
  const int64_t of_unit = 16 / bits;
  for (int64_t i = 0; i < count; i += of_unit) {
    uint32_t unit = 0;
    for (int64_t j = 0; j < of_unit; ++j) unit |= code(i + j) << (j * bits);
    StoreUnit(codes + UnitOf(side, token, (begin + i) / of_unit, head_dim, bits), unit);
  }
}

// Rows of `group` channels of one token; exact and FP8 sides have no parameters.
void StoreToken(const uint16_t* x, KvSide side, const PackedSide& packed, int64_t head_dim,
                int64_t token, const SidePlanes& to) {
  if (packed.code == PackedCode::kExact || packed.code == PackedCode::kFp8) {
    const bool is_exact = packed.code == PackedCode::kExact;
    StoreCodes(to.codes, side, packed.bits(), head_dim, token, 0, head_dim,
               [&](int64_t i) { return is_exact ? x[i] : E4m3Code(FromBFloat16(x[i])); });
    return;
  }
  const int64_t group = packed.rows == PackedRows::kToken ? head_dim : kPackedGroup;
  for (int64_t begin = 0; begin < head_dim; begin += group) {
    float low = std::numeric_limits<float>::infinity(), high = -low;
    for (int64_t i = begin; i < begin + group; ++i) {
      low = std::fmin(low, FromBFloat16(x[i]));
      high = std::fmax(high, FromBFloat16(x[i]));
    }
    const ModelRow row(low, high, packed.bits());
    StoreCodes(to.codes, side, packed.bits(), head_dim, token, begin, group,
               [&](int64_t i) { return row.LevelOf(FromBFloat16(x[begin + i])); });
    StoreParameters(to.parameters, (token * head_dim + begin) / group, row);
  }
}

// A group of tokens, [kPackedGroup, head_dim], to the place `first` of a page.
void StoreGroup(const uint16_t* x, KvSide side, const PackedSide& packed, int64_t head_dim,
                int64_t first, const SidePlanes& to) {
  if (packed.rows != PackedRows::kChannel) {
    for (int64_t t = 0; t < kPackedGroup; ++t)
      StoreToken(x + t * head_dim, side, packed, head_dim, first + t, to);
    return;
  }
  std::vector<ModelRow> rows;
  for (int64_t c = 0; c < head_dim; ++c) {
    float low = std::numeric_limits<float>::infinity(), high = -low;
    for (int64_t t = 0; t < kPackedGroup; ++t) {
      low = std::fmin(low, FromBFloat16(x[t * head_dim + c]));
      high = std::fmax(high, FromBFloat16(x[t * head_dim + c]));
    }
    rows.emplace_back(low, high, packed.bits());
    StoreParameters(to.parameters, first / kPackedGroup * head_dim + c, rows.back());
  }
  for (int64_t t = 0; t < kPackedGroup; ++t) {
    StoreCodes(to.codes, side, packed.bits(), head_dim, first + t, 0, head_dim, [&](int64_t c) {
      return rows[static_cast<size_t>(c)].LevelOf(FromBFloat16(x[t * head_dim + c]));
    });
  }
}

// The steps from one 16 bits of a token's codes to the next, in 16 bits.
int64_t UnitStride(KvSide side) { return side == KvSide::kKey ? 1 : 2; }

// The codes of a token as numbers, [head_dim]. `units` is where its first 16 bits lie.
template <int kBits>
KVTUNE_VECTOR_CLONES void SignedCodes(const uint16_t* units, int64_t stride, int64_t head_dim,
                                      float* out) {
  constexpr int64_t kOfUnit = 16 / kBits;
  constexpr int32_t kMask = (1 << kBits) - 1, kShift = 1 << (kBits - 1);
  for (int64_t u = 0; u < head_dim / kOfUnit; ++u) {
    const int32_t unit = units[u * stride];
    for (int64_t j = 0; j < kOfUnit; ++j)
      out[u * kOfUnit + j] = static_cast<float>(((unit >> (j * kBits)) & kMask) - kShift);
  }
}

KVTUNE_VECTOR_CLONES void ExactValues(const uint16_t* units, int64_t stride, int64_t head_dim,
                                      float* out) {
  for (int64_t u = 0; u < head_dim; ++u) out[u] = FromBFloat16(units[u * stride]);
}

void Fp8Values(const uint16_t* units, int64_t stride, int64_t head_dim, float* out) {
  for (int64_t u = 0; u < head_dim / 2; ++u) {
    const uint32_t unit = units[u * stride];
    out[2 * u] = E4m3Value(unit & 0xff);
    out[2 * u + 1] = E4m3Value(unit >> 8);
  }
}

// A number in bfloat16, half to even, without the question whether it is one.
float RoundedNumber(float x) {
  const uint32_t bits = BitsOf(x);
  return FromBits((bits + 0x7fffu + ((bits >> 16) & 1)) & 0xffff0000u);
}

// `count` codes of one row.
KVTUNE_VECTOR_CLONES void ApplyRow(RowParametersBits row, int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i)
    x[i] = RoundedNumber(RoundedNumber(x[i] + row.zero) * row.scale);
}

// One code of each of `count` rows, whose parameters lie one after another.
KVTUNE_VECTOR_CLONES void ApplyRows(const uint32_t* rows, int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i) {
    const float scale = FromBits(rows[i] << 16), zero = FromBits(rows[i] & 0xffff0000u);
    x[i] = RoundedNumber(RoundedNumber(x[i] + zero) * scale);
  }
}

// Gives back the tokens first to first + count of a page or a window, [count, head_dim].
void ReadTokens(const SidePlanes& from, KvSide side, const PackedSide& packed, int64_t head_dim,
                int64_t first, int64_t count, float* out) {
  const int64_t stride = UnitStride(side);
  for (int64_t t = first; t < first + count; ++t, out += head_dim) {
    const auto* units =
        reinterpret_cast<const uint16_t*>(from.codes + UnitOf(side, t, 0, head_dim, packed.bits()));
    switch (packed.code) {
      case PackedCode::kInt2:
        SignedCodes<2>(units, stride, head_dim, out);
        break;
      case PackedCode::kInt4:
        SignedCodes<4>(units, stride, head_dim, out);
        break;
      case PackedCode::kInt8:
        SignedCodes<8>(units, stride, head_dim, out);
        break;
      case PackedCode::kFp8:
        Fp8Values(units, stride, head_dim, out);
        break;
      case PackedCode::kExact:
        ExactValues(units, stride, head_dim, out);
        break;
    }
    switch (packed.rows) {
      case PackedRows::kNone:
        break;
      case PackedRows::kToken:
        ApplyRow(LoadParameters(from.parameters, t), head_dim, out);
        break;
      case PackedRows::kTokenGroup:
        for (int64_t c = 0; c < head_dim; c += kPackedGroup)
          ApplyRow(LoadParameters(from.parameters, (t * head_dim + c) / kPackedGroup), kPackedGroup,
                   out + c);
        break;
      case PackedRows::kChannel:
        ApplyRows(reinterpret_cast<const uint32_t*>(from.parameters) + t / kPackedGroup * head_dim,
                  head_dim, out);
        break;
    }
  }
}

// The running softmax of one query head: weights relative to the largest score so far.
struct RunningSum {
  float largest = -std::numeric_limits<float>::infinity();
  float sum = 0;
  std::vector<float> out;  // [head_dim]
};

KVTUNE_VECTOR_CLONES float Dot(const float* a, const float* b, int64_t count) {
  constexpr int kParts = 16;  // sums that do not wait for each other
  std::array<float, kParts> parts{};
  for (int64_t i = 0; i < count; i += kParts) {
    for (int j = 0; j < kParts; ++j) parts[static_cast<size_t>(j)] += a[i + j] * b[i + j];
  }
  float sum = 0;
  for (const float part : parts) sum += part;
  return sum;
}

KVTUNE_VECTOR_CLONES void AddTimes(const float* x, float factor, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] += x[i] * factor;
}

// Attends to `count` tokens, whose keys and values are [count, head_dim].
void AttendTo(const std::vector<float>& keys, const std::vector<float>& values, int64_t count,
              const float* query, const PackedQuery& rule, int64_t head_dim, RunningSum& sum) {
  std::vector<float> scores(static_cast<size_t>(count));
  float largest = sum.largest;
  for (int64_t t = 0; t < count; ++t) {
    float score = Dot(query, keys.data() + t * head_dim, head_dim) * rule.scale;
    if (rule.soft_cap > 0) score = rule.soft_cap * std::tanh(score / rule.soft_cap);
    scores[static_cast<size_t>(t)] = score;
    largest = std::max(largest, score);
  }
  if (largest == -std::numeric_limits<float>::infinity()) return;
  const float factor = std::exp(sum.largest - largest);
  sum.largest = largest;
  sum.sum *= factor;
  for (float& x : sum.out) x *= factor;
  for (int64_t t = 0; t < count; ++t) {
    const float weight = std::exp(scores[static_cast<size_t>(t)] - largest);
    sum.sum += weight;
    AddTimes(values.data() + t * head_dim, weight, head_dim, sum.out.data());
  }
}

// All query heads of one KV head of one sequence.
void AttendHead(const PackedCache& cache, const PackedQuery& query, int64_t row, int64_t head) {
  const PackedLayout& layout = cache.layout;
  const int64_t head_dim = layout.head_dim, tokens = cache.tokens[row];
  const int64_t queries = query.query_heads / cache.kv_heads;
  const int64_t out = (row * query.query_heads + head * queries) * head_dim;
  std::vector<float> wide;
  for (int64_t q = 0; q < queries; ++q) {
    const uint16_t* from = query.query + QueryAt(query, head_dim, row, head * queries + q);
    std::transform(from, from + head_dim, std::back_inserter(wide), FromBFloat16);
  }
  std::vector<RunningSum> sums(static_cast<size_t>(queries));
  for (RunningSum& sum : sums) sum.out.resize(static_cast<size_t>(head_dim));

  const int64_t packed = layout.PackedTokens(tokens);
  const int64_t window = query.sliding_window;
  int64_t begin = window > 0 ? std::max<int64_t>(0, tokens - window) : 0;
  std::vector<float> keys(static_cast<size_t>(kPageTokens * head_dim)), values(keys.size());
  while (begin < tokens) {
    const bool is_packed = begin < packed;
    const int64_t end =
        is_packed ? std::min((begin / kPageTokens + 1) * kPageTokens, packed) : tokens;
    uint8_t* base = is_packed ? PageOf(cache, row, head, begin) : WindowOf(cache, row, head);
    const PackedPlanes& planes = is_packed ? layout.page : layout.window;
    const int64_t first = is_packed ? begin % kPageTokens : begin - packed;
    for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
      ReadTokens(PlanesOf(base, planes, side), side, is_packed ? SideOf(layout, side) : kExactSide,
                 head_dim, first, end - begin, side == KvSide::kKey ? keys.data() : values.data());
    }
    for (int64_t q = 0; q < queries; ++q) {
      AttendTo(keys, values, end - begin, wide.data() + q * head_dim, query, head_dim,
               sums[static_cast<size_t>(q)]);
    }
    begin = end;
  }
  for (int64_t q = 0; q < queries; ++q) {
    RunningSum& sum = sums[static_cast<size_t>(q)];
    float factor = sum.sum > 0 ? 1.0f / sum.sum : 0.0f;
    if (query.sinks != nullptr && sum.sum > 0) {
      const float sink = query.sinks[head * queries + q];
      const float largest = std::max(sink, sum.largest);
      const float weight = std::exp(sum.largest - largest);
      factor = weight / (weight * sum.sum + std::exp(sink - largest));
    }
    for (int64_t c = 0; c < head_dim; ++c)
      query.out[out + q * head_dim + c] = BFloat16Bits(sum.out[static_cast<size_t>(c)] * factor);
  }
}

// Calls work(row, head) for every KV head of every sequence, on all threads.
template <typename Work>
void ForEachHead(const PackedCache& cache, const Work& work) {
  const int64_t heads = cache.sequences * cache.kv_heads;
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < heads; ++i)
    work(RowOfSequence(cache, i / cache.kv_heads), i % cache.kv_heads);
}

constexpr std::array kSides{KvSide::kKey, KvSide::kValue};

const uint16_t* InputOf(const PackedCache& cache, const PackedTokens& input, KvSide side,
                        int64_t row, int64_t head, int64_t i) {
  return (side == KvSide::kKey ? input.keys : input.values) + InputAt(cache, input, row, head, i);
}

// To a page, or to the window where the layout has one.
void StoreNewest(const PackedCache& cache, KvSide side, int64_t row, int64_t head, int64_t token,
                 const uint16_t* x) {
  const PackedLayout& layout = cache.layout;
  if (layout.window_tokens > 0) {
    StoreToken(x, side, kExactSide, layout.head_dim, token % layout.window_tokens,
               PlanesOf(WindowOf(cache, row, head), layout.window, side));
  } else {
    StoreToken(x, side, SideOf(layout, side), layout.head_dim, token % kPageTokens,
               PlanesOf(PageOf(cache, row, head, token), layout.page, side));
  }
}

}  // namespace

void FillOnCpu(const PackedCache& cache, const PackedTokens& first) {
  const PackedLayout& layout = cache.layout;
  ForEachHead(cache, [&](int64_t row, int64_t head) {
    const int64_t tokens = cache.tokens[row];
    const int64_t window = layout.window_tokens;
    const int64_t flushed = window > 0 ? layout.PackedTokens(tokens) : 0;
    for (const KvSide side : kSides) {
      for (int64_t t = 0; t < flushed; t += window) {
        StoreGroup(InputOf(cache, first, side, row, head, t), side, SideOf(layout, side),
                   layout.head_dim, t % kPageTokens,
                   PlanesOf(PageOf(cache, row, head, t), layout.page, side));
      }
      for (int64_t t = flushed; t < tokens; ++t)
        StoreNewest(cache, side, row, head, t, InputOf(cache, first, side, row, head, t));
    }
  });
}

void AppendOnCpu(const PackedCache& cache, const PackedTokens& newest) {
  ForEachHead(cache, [&](int64_t row, int64_t head) {
    const int64_t token = cache.tokens[row] - 1;
    if (token < 0) return;
    for (const KvSide side : kSides)
      StoreNewest(cache, side, row, head, token, InputOf(cache, newest, side, row, head, 0));
  });
}

void FlushOnCpu(const PackedCache& cache) {
  const PackedLayout& layout = cache.layout;
  const int64_t window = layout.window_tokens;
  if (window == 0) return;
  ForEachHead(cache, [&](int64_t row, int64_t head) {
    const int64_t tokens = cache.tokens[row];
    if (tokens == 0 || tokens % window != 0) return;
    std::vector<float> wide(static_cast<size_t>(window * layout.head_dim));
    std::vector<uint16_t> exact(wide.size());
    for (const KvSide side : kSides) {
      ReadTokens(PlanesOf(WindowOf(cache, row, head), layout.window, side), side, kExactSide,
                 layout.head_dim, 0, window, wide.data());
      std::transform(wide.begin(), wide.end(), exact.begin(), BFloat16Bits);
      StoreGroup(exact.data(), side, SideOf(layout, side), layout.head_dim,
                 (tokens - window) % kPageTokens,
                 PlanesOf(PageOf(cache, row, head, tokens - window), layout.page, side));
    }
  });
}

void AttendOnCpu(const PackedCache& cache, const PackedQuery& query) {
  ForEachHead(cache, [&](int64_t row, int64_t head) { AttendHead(cache, query, row, head); });
}

void ReadToken(const PackedCache& cache, KvSide side, int64_t row, int64_t head, int64_t token,
               float* out) {
  const PackedLayout& layout = cache.layout;
  if (token < layout.PackedTokens(cache.tokens[row])) {
    ReadTokens(PlanesOf(PageOf(cache, row, head, token), layout.page, side), side,
               SideOf(layout, side), layout.head_dim, token % kPageTokens, 1, out);
  } else {
    ReadTokens(PlanesOf(WindowOf(cache, row, head), layout.window, side), side, kExactSide,
               layout.head_dim, token % layout.window_tokens, 1, out);
  }
}

}  // namespace kvtune
