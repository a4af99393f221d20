#include "lib/kernels/packed_cpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/kernels/packed_case.h"

namespace kvtune {
namespace {

using Id = KvFormatId;

std::vector<float> TokenOf(const PackedCache& cache, KvSide side, int64_t sequence, int64_t head,
                           int64_t token) {
  std::vector<float> x(static_cast<size_t>(cache.layout.head_dim));
  ReadToken(cache, side, sequence, head, token, x.data());
  return x;
}

// Attention by its definition, in float64.
std::vector<double> AttentionOf(const PackedCache& cache, const PackedQuery& query,
                                int64_t sequence, int64_t query_head) {
  const int64_t head_dim = cache.layout.head_dim, tokens = cache.tokens[sequence];
  const int64_t head = query_head / (query.query_heads / cache.kv_heads);
  const uint16_t* q = query.query + (sequence * query.query_heads + query_head) * head_dim;
  std::vector<double> out(static_cast<size_t>(head_dim));
  double sum = query.sinks == nullptr ? 0 : std::exp(query.sinks[query_head]);
  const int64_t first =
      query.sliding_window > 0 ? std::max<int64_t>(0, tokens - query.sliding_window) : 0;
  for (int64_t t = first; t < tokens; ++t) {
    const std::vector<float> key = TokenOf(cache, KvSide::kKey, sequence, head, t);
    const std::vector<float> value = TokenOf(cache, KvSide::kValue, sequence, head, t);
    double score = 0;
    for (size_t c = 0; c < key.size(); ++c) score += double{FromBFloat16(q[c])} * key[c];
    score *= query.scale;
    if (query.soft_cap > 0) score = query.soft_cap * std::tanh(score / query.soft_cap);
    const double weight = std::exp(score);
    sum += weight;
    for (size_t c = 0; c < value.size(); ++c) out[c] += weight * value[c];
  }
  for (double& x : out) x = sum > 0 ? x / sum : 0;
  return out;
}

void ExpectAttention(PackedCase& sample, PackedQuery query) {
  const PackedCache cache = sample.Cache();
  std::vector<uint16_t> out(sample.query.size(), 0x7fc0);
  query.query = sample.query.data();
  query.out = out.data();
  query.query_heads = sample.query_heads;
  AttendOnCpu(cache, query);
  for (int64_t s = 0; s < cache.sequences; ++s) {
    for (int64_t h = 0; h < sample.query_heads; ++h) {
      const std::vector<double> expected = AttentionOf(cache, query, s, h);
      for (size_t c = 0; c < expected.size(); ++c) {
        const size_t at = static_cast<size_t>(s * sample.query_heads + h) * expected.size() + c;
        // One rounding to bfloat16, and float32 sums.
        ASSERT_NEAR(FromBFloat16(out[at]), expected[c], std::abs(expected[c]) / 256 + 1e-5)
            << "sequence " << s << ", head " << h << ", channel " << c;
      }
    }
  }
}

TEST(PackedCpu, IsAttentionOfWhatTheCacheGivesBack) {
  for (const PrecisionPair pair : PackedPairs()) {
    for (const int64_t head_dim : {32, 96, 128}) {
      SCOPED_TRACE(PairLabel(pair) + " " + std::to_string(head_dim));
      PackedCase sample(pair, head_dim, 2, 3, {1, 31, 32, 33, 64, 130, 0});
      FillOnCpu(sample.Cache(), sample.All());
      ExpectAttention(sample, {.scale = 0.1f});
    }
  }
}

TEST(PackedCpu, KnowsSlidingWindowsSinksAndSoftCaps) {
  const std::vector<float> sinks = {0.5f, -1, 2, 0, 0.1f, 3};
  for (const PrecisionPair pair :
       {PrecisionPair{Id::kInt4, Id::kInt2}, PrecisionPair{Id::kKiviInt4, Id::kKiviInt8}}) {
    for (const int64_t window : {1, 5, 33, 64, 100, 1000}) {
      PackedCase sample(pair, 64, 2, 3, {1, 31, 96, 130});
      FillOnCpu(sample.Cache(), sample.All());
      ExpectAttention(sample, {.scale = 0.1f, .soft_cap = 3, .sliding_window = window});
      ExpectAttention(sample, {.scale = 0.1f, .sliding_window = window, .sinks = sinks.data()});
    }
  }
}

// Token by token, in the order of a decode step, a cache holds what one filled at once holds.
TEST(PackedCpu, AppendingGivesWhatFillingGives) {
  for (const PrecisionPair pair : PackedPairs()) {
    SCOPED_TRACE(PairLabel(pair));
    PackedCase filled(pair, 64, 2, 1, {70, 1, 64, 33});
    FillOnCpu(filled.Cache(), filled.All());
    PackedCase appended = filled;
    std::fill(appended.pages.begin(), appended.pages.end(), uint8_t{0xff});
    std::fill(appended.windows.begin(), appended.windows.end(), uint8_t{0xff});
    FlushOnCpu(filled.Cache());
    std::vector<int32_t> lengths(filled.tokens.size());
    for (int32_t step = 1; step <= 70; ++step) {
      for (size_t s = 0; s < lengths.size(); ++s) lengths[s] = std::min(step, filled.tokens[s]);
      appended.tokens = lengths;
      const std::vector<uint16_t> keys = filled.Newest(filled.keys, lengths);
      const std::vector<uint16_t> values = filled.Newest(filled.values, lengths);
      AppendOnCpu(appended.Cache(), {keys.data(), values.data(), 1});
      FlushOnCpu(appended.Cache());
    }
    EXPECT_EQ(appended.pages, filled.pages);
    for (size_t s = 0; s < filled.tokens.size(); ++s) {
      for (int64_t t = 0; t < filled.layout.PackedTokens(filled.tokens[s]); ++t) {
        for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
          EXPECT_EQ(TokenOf(appended.Cache(), side, static_cast<int64_t>(s), 1, t),
                    TokenOf(filled.Cache(), side, static_cast<int64_t>(s), 1, t));
        }
      }
    }
  }
}

// The smallest example by hand: a row of 32 channels from 0 to 3 in 2 bits. The scale is 1 and
// KVTuner's zero 2, so the codes -2 to 1 are the levels 0 to 3.
TEST(PackedCpu, LaysCodesOutAsItsHeaderSays) {
  PackedCase sample({Id::kInt2, Id::kInt2}, 32, 1, 1, {2});
  for (size_t t = 0; t < 2; ++t) {
    for (size_t c = 0; c < 32; ++c) {
      sample.keys[t * 32 + c] = BFloat16Bits(static_cast<float>(c % 4));
      sample.values[t * 32 + c] = BFloat16Bits(static_cast<float>(t == 0 ? c % 4 : 3 - c % 4));
    }
  }
  sample.page_table = {0};
  FillOnCpu(sample.Cache(), sample.All());
  const PackedPlanes& planes = sample.layout.page;
  EXPECT_EQ(planes.value_codes, 64 * 8);
  EXPECT_EQ(planes.key_parameters, 2 * 64 * 8);
  EXPECT_EQ(planes.value_parameters, 2 * 64 * 8 + 64 * 4);
  const auto bytes = [&](int64_t begin, int64_t count) {
    return std::vector<uint8_t>(sample.pages.begin() + begin, sample.pages.begin() + begin + count);
  };
  constexpr uint8_t kUp = 0b11100100, kDown = 0b00011011;
  EXPECT_EQ(bytes(0, 17), std::vector<uint8_t>({kUp, kUp, kUp, kUp, kUp, kUp, kUp, kUp, kUp, kUp,
                                                kUp, kUp, kUp, kUp, kUp, kUp, 0xff}));
  EXPECT_EQ(bytes(planes.value_codes, 8),
            std::vector<uint8_t>({kUp, kUp, kDown, kDown, kUp, kUp, kDown, kDown}));
  // 1.0 and 2.0 in bfloat16
  EXPECT_EQ(bytes(planes.key_parameters, 4), std::vector<uint8_t>({0x80, 0x3f, 0x00, 0x40}));
}

// A cache of some rows of a table, whose pages and windows lie in one memory from its end on, with
// queries in the order of heads.
TEST(PackedCpu, SequencesAreSomeRowsOfATable) {
  constexpr int64_t kRows = 3, kHeadDim = 64, kEntries = 3;  // two pages and a window
  for (const PrecisionPair pair :
       {PrecisionPair{Id::kInt4, Id::kInt2}, PrecisionPair{Id::kKiviInt2, Id::kKiviInt4}}) {
    SCOPED_TRACE(PairLabel(pair));
    PackedCase sample(pair, kHeadDim, 2, 2, {70, 33, 96});
    std::vector<uint16_t> expected(sample.query.size());
    FillOnCpu(sample.Cache(), sample.All());
    AttendOnCpu(sample.Cache(),
                {.query = sample.query.data(), .out = expected.data(), .query_heads = 4});

    const int64_t page = sample.kv_heads * sample.layout.page.bytes;
    const int64_t of_row = 2 * page + sample.kv_heads * sample.layout.window.bytes;
    std::vector<uint8_t> memory(static_cast<size_t>(kRows * of_row), 0xff);
    std::vector<int32_t> table;
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t entry = 0; entry < kEntries; ++entry)
        table.push_back(
            static_cast<int32_t>(((kRows - 1 - row) * of_row + entry * page) / kPageUnit));
    }
    const std::vector<int64_t> rows = {2, 0};
    PackedCache cache = sample.Cache();
    cache.sequences = 2;
    cache.rows = rows.data();
    cache.pages = cache.windows = memory.data();
    cache.page_table = table.data();
    cache.window_table = table.data() + 2;
    cache.table_stride = kEntries;
    std::vector<uint16_t> by_head(sample.query.size()), found(sample.query.size(), 0x7fc0);
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t head = 0; head < 4; ++head)
        std::copy_n(sample.query.begin() + (row * 4 + head) * kHeadDim, kHeadDim,
                    by_head.begin() + (head * kRows + row) * kHeadDim);
    }
    FillOnCpu(cache, sample.All());
    AttendOnCpu(cache, {.query = by_head.data(),
                        .row_stride = kHeadDim,
                        .head_stride = kRows * kHeadDim,
                        .out = found.data(),
                        .query_heads = 4});
    const auto result = [&](const std::vector<uint16_t>& out, int64_t row) {
      return std::vector(out.begin() + row * 4 * kHeadDim, out.begin() + (row + 1) * 4 * kHeadDim);
    };
    EXPECT_EQ(result(found, 0), result(expected, 0));
    EXPECT_EQ(result(found, 2), result(expected, 2));
    EXPECT_THAT(result(found, 1), testing::Each(0x7fc0));
    EXPECT_THAT(std::vector(memory.begin() + of_row, memory.begin() + 2 * of_row),
                testing::Each(0xff));
  }
}

TEST(PackedCpu, RowsWithTheSameTokensAreFilledFromOneInput) {
  PackedCase sample({Id::kKiviInt4, Id::kKiviInt4}, 64, 2, 1, {70, 70});
  FillOnCpu(sample.Cache(), {.keys = sample.keys.data(),
                             .values = sample.values.data(),
                             .count = sample.most_tokens,
                             .row_stride = 0});
  for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
    for (const int64_t token : {0, 63, 64, 69})
      EXPECT_EQ(TokenOf(sample.Cache(), side, 1, 1, token),
                TokenOf(sample.Cache(), side, 0, 1, token));
  }
}

}  // namespace
}  // namespace kvtune
