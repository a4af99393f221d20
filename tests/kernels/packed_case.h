// A packed cache with random tokens, for the tests of both devices. Its memory is full of ones
// before anything is stored, which are not numbers in bfloat16, and its pages lie in a random
// order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "lib/kernels/kvtuner_row.h"
#include "lib/kernels/packed_cache.h"

namespace kvtune {

struct PackedCase {
  PackedLayout layout;
  int64_t kv_heads = 1;
  int64_t query_heads = 1;
  std::vector<int32_t> tokens;  // of each sequence
  int64_t most_tokens = 0;
  std::vector<uint16_t> keys, values;  // [sequences, kv_heads, most_tokens, head_dim]
  std::vector<uint16_t> query;         // [sequences, query_heads, head_dim]
  std::vector<uint8_t> pages, windows;
  std::vector<int32_t> page_table;

  PackedCase(PrecisionPair pair, int64_t head_dim, int64_t kv_head_count, int64_t queries_of_head,
             std::vector<int32_t> lengths, unsigned seed = 1)
      : layout(PackedLayoutOf(pair, head_dim)),
        kv_heads(kv_head_count),
        query_heads(kv_head_count * queries_of_head),
        tokens(std::move(lengths)),
        most_tokens(*std::max_element(tokens.begin(), tokens.end())) {
    std::mt19937 random(seed);
    const auto sequences = static_cast<int64_t>(tokens.size());
    // A few numbers over and over, because drawing each takes long.
    std::normal_distribution<float> normal;
    std::vector<float> drawn(8191);
    for (float& x : drawn) x = normal(random);
    const auto fill = [&](std::vector<uint16_t>& x, int64_t count, float shift) {
      x.resize(static_cast<size_t>(count));
      const size_t first = random() % drawn.size();
      for (size_t i = 0; i < x.size(); ++i)
        x[i] = BFloat16Bits(drawn[(first + i) % drawn.size()] + shift);
    };
    fill(keys, sequences * kv_heads * most_tokens * head_dim, 0.3f);
    fill(values, sequences * kv_heads * most_tokens * head_dim, -0.2f);
    fill(query, sequences * query_heads * head_dim, 0);
    const int64_t pages_per_sequence = PagesPerSequence();
    page_table.resize(static_cast<size_t>(sequences * pages_per_sequence));
    std::iota(page_table.begin(), page_table.end(), 0);
    std::shuffle(page_table.begin(), page_table.end(), random);
    for (int32_t& place : page_table)
      place *= static_cast<int32_t>(kv_heads * layout.page.bytes / kPageUnit);
    pages.assign(page_table.size() * static_cast<size_t>(kv_heads * layout.page.bytes), 0xff);
    windows.assign(static_cast<size_t>(sequences * kv_heads * layout.window.bytes), 0xff);
  }

  int64_t PagesPerSequence() const { return (most_tokens + kPageTokens - 1) / kPageTokens; }

  PackedCache Cache() {
    return {.layout = layout,
            .sequences = static_cast<int64_t>(tokens.size()),
            .kv_heads = kv_heads,
            .pages = pages.data(),
            .page_table = page_table.data(),
            .table_stride = PagesPerSequence(),
            .windows = windows.data(),
            .tokens = tokens.data(),
            .most_tokens = most_tokens};
  }
  // Makes the first tokens of one sequence those of another one.
  void CopyTokens(int64_t from, int64_t to, int64_t count) {
    for (std::vector<uint16_t>* side : {&keys, &values}) {
      for (int64_t head = 0; head < kv_heads; ++head) {
        const auto place = [&](int64_t sequence) {
          return side->begin() + (sequence * kv_heads + head) * most_tokens * layout.head_dim;
        };
        std::copy_n(place(from), count * layout.head_dim, place(to));
      }
    }
  }

  PackedTokens All() const { return {keys.data(), values.data(), most_tokens}; }

  // The newest token of every sequence, [sequences, kv_heads, 1, head_dim].
  std::vector<uint16_t> Newest(const std::vector<uint16_t>& side,
                               const std::vector<int32_t>& lengths) const {
    std::vector<uint16_t> newest;
    for (size_t s = 0; s < lengths.size(); ++s) {
      for (int64_t head = 0; head < kv_heads; ++head) {
        const int64_t token = std::max(0, lengths[s] - 1);
        const auto begin =
            side.begin() +
            ((static_cast<int64_t>(s) * kv_heads + head) * most_tokens + token) * layout.head_dim;
        newest.insert(newest.end(), begin, begin + layout.head_dim);
      }
    }
    return newest;
  }
};

// Every pair that can be packed, with the names of the formats.
inline std::vector<PrecisionPair> PackedPairs() {
  std::vector<PrecisionPair> pairs;
  for (const KvFormat& key : Formats()) {
    for (const KvFormat& value : Formats()) {
      if (WhyNotPacked({key.id, value.id}, 128).empty()) pairs.push_back({key.id, value.id});
    }
  }
  return pairs;
}

}  // namespace kvtune
