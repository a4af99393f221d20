// The cache of many sequences that are decoded together, as a serving engine would keep it: every
// sequence under a plan of its own.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "lib/core/precision_plan.h"
#include "lib/runner/decoder.h"
#include "lib/runner/stored_side.h"

namespace kvtune {

class KvCache {
 public:
  // All memory is taken here. REQUIRES: decoder outlives the cache.
  KvCache(const Decoder& decoder, int64_t rows, int64_t max_tokens);

  // The bytes that one sequence of `max_tokens` tokens takes.
  static int64_t BytesPerRow(const ModelConfig& config, int64_t max_tokens,
                             const at::TensorOptions& options);

  int64_t rows() const { return static_cast<int64_t>(tokens_of_row_.size()); }
  int64_t tokens(int64_t row) const { return tokens_of_row_[static_cast<size_t>(row)]; }

  // Begins a sequence in a row, in place of what was there. Its first `tokens` tokens come by
  // Store. REQUIRES: tokens < max_tokens
  void Begin(int64_t row, const PrecisionPlan& plan, int64_t tokens);
  // Ends the sequence of a row. Until the next one begins, the row takes part in steps with a token
  // that nobody looks at.
  void End(int64_t row);
  // Puts one layer of a row's prompt in place, as the plan stores it.
  // keys, values: [kv_heads, tokens, head_dim]
  void Store(int64_t row, size_t layer, const at::Tensor& keys, const at::Tensor& values);

  // Opens a step, in which every row gets one token.
  const StepPositions& NextPositions();
  // One layer of the step: adds the keys and values of the new tokens, lets the queries attend to
  // their own sequence and then quantizes the groups that became full. The result of a row depends
  // on the row alone: exactly so on a CPU, up to rounding on a GPU.
  // newest: of the rows in their order, [1, heads, rows or more, head_dim]; what is beyond the rows
  // is ignored -> [rows or more, query_heads * value_head_dim], zeros beyond the rows
  at::Tensor Attend(size_t layer, const QueryKeyValue& newest);
  // Closes the step: every sequence is one token longer. REQUIRES: it has room for it.
  void EndStep();

 private:
  at::Tensor AttendTogether(size_t layer, const at::Tensor& query, const ScoreRule& rule) const;
  at::Tensor AttendOneByOne(size_t layer, const at::Tensor& query, const ScoreRule& rule) const;
  // [rows, 1, 1, tokens], float32: -inf where a row does not see a token
  const at::Tensor& MaskOf(int64_t window_tokens, int64_t tokens) const;

  const Decoder& decoder_;
  std::vector<StoredSide> keys_;  // by layer
  std::vector<StoredSide> values_;
  std::vector<int64_t> tokens_of_row_;  // 0 where no sequence is
  std::vector<char> is_live_;           // by row
  StepPositions positions_;
  mutable std::map<int64_t, at::Tensor> masks_;  // of this step, by window
};

}  // namespace kvtune
