#include "lib/runner/shared_prefixes.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "lib/kernels/cuda/decode_attention.h"

namespace kvtune {

static_assert(kGroupHeader == 3);

int64_t LastingTokens(PrecisionPair pair, int64_t tokens) {
  const auto group = [](KvFormatId format) {
    return std::max<int64_t>(1, FormatOf(format).residual_window_tokens);
  };
  const int64_t both = std::lcm(group(pair.key), group(pair.value));
  return tokens / both * both;
}

std::vector<SharedPrefixes::Move> SharedPrefixes::Begin(int64_t row, int64_t lasting) {
  Row& begun = rows_[static_cast<size_t>(row)];
  begun = {.is_live = false};
  std::vector<Move> moves;
  for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
    Move move{.side = side, .from = row, .to = -1};
    for (size_t i = 0; i < rows_.size(); ++i) {
      Row& other = rows_[i];
      if (!other.is_live || other.Source(side) != row) continue;
      if (move.to < 0) move.to = static_cast<int64_t>(i);
      other.Source(side) = move.to;
      move.tokens = std::max(move.tokens, other.lasting);
    }
    if (move.to >= 0 && move.tokens > 0) moves.push_back(move);
  }
  begun = {.is_live = true, .lasting = lasting, .key_source = row, .value_source = row};
  has_changed_ = true;
  return moves;
}

void SharedPrefixes::End(int64_t row) {
  rows_[static_cast<size_t>(row)].is_live = false;
  has_changed_ = true;
}

void SharedPrefixes::Share(std::span<const int64_t> rows, KvSide side) {
  for (const int64_t row : rows) rows_[static_cast<size_t>(row)].Source(side) = rows.front();
  has_changed_ = true;
}

std::vector<int64_t> SharedPrefixes::Groups(int64_t most_rows) {
  std::vector<int64_t> live;
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].is_live) live.push_back(static_cast<int64_t>(i));
  }
  const auto shared = [&](int64_t row) {
    const Row& of = rows_[static_cast<size_t>(row)];
    return std::tuple(of.key_source, of.value_source, of.lasting);
  };
  std::ranges::stable_sort(live, [&](int64_t a, int64_t b) { return shared(a) < shared(b); });
  std::vector<int64_t> groups;
  int64_t size = 0;  // of the last group
  for (size_t i = 0; i < live.size(); ++i) {
    if (i == 0 || size == most_rows || shared(live[i]) != shared(live[i - 1])) {
      const auto [key_source, value_source, lasting] = shared(live[i]);
      groups.insert(groups.end(), {key_source, value_source, lasting});
      groups.insert(groups.end(), static_cast<size_t>(most_rows), -1);
      size = 0;
    }
    groups[groups.size() - static_cast<size_t>(most_rows - size)] = live[i];
    ++size;
  }
  has_changed_ = false;
  return groups;
}

}  // namespace kvtune
