// The cache of many sequences that are decoded together, as a serving engine would keep it: every
// sequence under a plan of its own.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "lib/core/precision_plan.h"
#include "lib/runner/decoder.h"
#include "lib/runner/device_numbers.h"
#include "lib/runner/shared_prefixes.h"
#include "lib/runner/stored_side.h"

namespace kvtune {

class KvCache {
 public:
  // All memory is taken here. REQUIRES: decoder outlives the cache.
  KvCache(const Decoder& decoder, int64_t rows, int64_t max_tokens);

  // The bytes that one sequence of `max_tokens` tokens takes of each stage's memory.
  static std::vector<int64_t> BytesPerRow(const Decoder& decoder, int64_t max_tokens);

  int64_t rows() const { return static_cast<int64_t>(tokens_of_row_.size()); }
  int64_t tokens(int64_t row) const { return tokens_of_row_[static_cast<size_t>(row)]; }

  // Begins a sequence in a row, in place of what was there. Its first `tokens` tokens come by
  // Store. REQUIRES: tokens < max_tokens
  void Begin(int64_t row, const PrecisionPlan& plan, int64_t tokens);
  // Ends the sequence of a row. Until the next one begins, the row takes part in steps with a token
  // that nobody looks at.
  void End(int64_t row);
  // Puts one side of one layer of a prompt in place for rows that store it alike. Where the device
  // can read it so, they share it. stored: as their format stores it, [kv_heads, tokens, head_dim]
  void Store(std::span<const int64_t> rows, size_t layer, KvSide side, const at::Tensor& stored);

  // Opens a step, in which every row gets one token. The positions are at home.
  const StepPositions& NextPositions();
  // One layer of the step: adds the keys and values of the new tokens, lets the queries attend to
  // their own sequence and then quantizes the groups that became full. The result of a row depends
  // on the row alone: exactly so on a CPU, up to rounding on a GPU.
  // newest: of the rows in their order, [1, heads, rows or more, head_dim]; what is beyond the rows
  // is ignored -> [rows or more, query_heads * value_head_dim], zeros where no sequence is
  at::Tensor Attend(size_t layer, const QueryKeyValue& newest);
  // Closes the step: every sequence is one token longer. REQUIRES: it has room for it.
  void EndStep();

 private:
  // One layer, and how it is read.
  struct Layer {
    StoredSide keys;
    StoredSide values;
    // Whether a kernel of ours attends, which reads what rows share once.
    bool is_shared = false;
    SharedPrefixes prefixes;
    at::Tensor groups;  // on the device, where it is shared

    StoredSide& Side(KvSide side) { return side == KvSide::kKey ? keys : values; }
  };

  // [rows, heads, head_dim]
  at::Tensor OfRows(const at::Tensor& newest) const;
  at::Tensor Attended(size_t layer, const QueryKeyValue& newest) const;
  // query: [rows, kv_heads, query heads that share it, head_dim]
  at::Tensor AttendTogether(size_t stage, const Layer& layer, const at::Tensor& query,
                            const ScoreRule& rule) const;
  at::Tensor AttendOneByOne(const Layer& layer, const at::Tensor& query,
                            const ScoreRule& rule) const;
  // [rows, 1, 1, tokens], float32: -inf where a row does not see a token
  const at::Tensor& MaskOf(size_t stage, int64_t window_tokens, int64_t tokens) const;

  const Decoder& decoder_;
  int64_t max_tokens_;
  std::vector<Layer> layers_;
  std::vector<int64_t> tokens_of_row_;    // 0 where no sequence is
  std::vector<char> is_live_;             // by row
  std::vector<StepPositions> positions_;  // the same on the device of each stage
  std::vector<DeviceNumbers> numbers_;    // by stage
  // Of this step, by stage and window.
  mutable std::map<std::pair<size_t, int64_t>, at::Tensor> masks_;
};

}  // namespace kvtune
