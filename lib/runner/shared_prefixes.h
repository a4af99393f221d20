// Which sequences of a cache read the beginning of their keys or values in the memory of another
// one, because both store the same. This file is torch-free.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/kv_format.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// How many tokens at the beginning of a prompt stay as they are stored: whole groups of the
// residual windows of both sides. Those behind them are quantized when their group is full.
int64_t LastingTokens(PrecisionPair pair, int64_t tokens);

// One layer of a cache. Sequences under several plans share a prompt; those that store one side of
// it in the same format need that side once, and those that share both sides can attend to it
// together.
class SharedPrefixes {
 public:
  explicit SharedPrefixes(int64_t rows) : rows_(static_cast<size_t>(rows)) {}

  // What has to be copied before the memory of a row is written anew.
  struct Move {
    KvSide side = KvSide::kKey;
    int64_t from = 0, to = 0;  // rows
    int64_t tokens = 0;        // the first ones
  };

  // A sequence begins in a row. Its first `lasting` tokens may be shared. Returns what the row's
  // memory still holds for others; the first of them holds it for the rest from now on.
  std::vector<Move> Begin(int64_t row, int64_t lasting);
  void End(int64_t row);
  // From now on the lasting tokens of one side of these rows are those in the memory of the first
  // of them.
  void Share(std::span<const int64_t> rows, KvSide side);

  int64_t lasting(int64_t row) const { return rows_[static_cast<size_t>(row)].lasting; }
  // Whether Groups would give something else than at its last call.
  bool has_changed() const { return has_changed_; }
  // The live rows by what they share, at most `most_rows` in a group, in the numbers of
  // lib/kernels/cuda/decode_attention.h.
  std::vector<int64_t> Groups(int64_t most_rows);

 private:
  struct Row {
    bool is_live = false;
    int64_t lasting = 0;
    int64_t key_source = 0, value_source = 0;  // the row that holds them

    int64_t& Source(KvSide side) { return side == KvSide::kKey ? key_source : value_source; }
  };

  std::vector<Row> rows_;
  bool has_changed_ = true;
};

}  // namespace kvtune
