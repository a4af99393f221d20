// The cache of many sequences that are decoded together, as a serving engine would keep it: every
// sequence under a plan of its own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "lib/core/precision_plan.h"
#include "lib/runner/cache_forms.h"
#include "lib/runner/decoder.h"
#include "lib/runner/device_numbers.h"
#include "lib/runner/packed_sequences.h"
#include "lib/runner/shared_prefixes.h"
#include "lib/runner/side_streams.h"
#include "lib/runner/stored_side.h"

namespace kvtune {

class KvCache {
 public:
  // All memory is taken here. REQUIRES: decoder outlives the cache.
  KvCache(const Decoder& decoder, CacheSize size);

  int64_t rows() const { return static_cast<int64_t>(tokens_of_row_.size()); }
  int64_t tokens(int64_t row) const { return tokens_of_row_[static_cast<size_t>(row)]; }

  bool is_packed(size_t layer) const { return forms_[layer] == CacheForm::kPacked; }

  // Takes packed memory in a row without a sequence, for one that is about to begin and will have
  // no more than so many tokens. Returns whether there is enough.
  bool Admit(int64_t row, const PrecisionPlan& plan, int64_t most_tokens);
  // Begins a sequence in a row, in place of what was there. Its first `tokens` tokens come by
  // Store. REQUIRES: tokens < max_tokens; where layers are packed, it was admitted.
  void Begin(int64_t row, const PrecisionPlan& plan, int64_t tokens);
  // Ends the sequence of a row. Until the next one begins, the row takes part in steps with a token
  // that nobody looks at.
  void End(int64_t row);
  // Puts one side of one layer of a prompt in place for rows that store it alike. Where the device
  // can read it so, they share it. stored: as their format stores it, [kv_heads, tokens, head_dim]
  // REQUIRES: the layer is not packed.
  void Store(std::span<const int64_t> rows, size_t layer, KvSide side, const at::Tensor& stored);
  // Packs a layer of the prompt of some rows. keys, values: exact, [kv_heads, tokens, head_dim].
  // REQUIRES: the layer is packed.
  void Pack(std::span<const int64_t> rows, size_t layer, const at::Tensor& keys,
            const at::Tensor& values);

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
  // A layer of fake-quantized values, and how it is read.
  struct HeldLayer {
    StoredSide keys;
    StoredSide values;
    // Whether a kernel of ours attends, which reads what rows share once.
    bool is_shared = false;
    SharedPrefixes prefixes;
    at::Tensor groups;  // on the device, where it is shared

    StoredSide& Side(KvSide side) { return side == KvSide::kKey ? keys : values; }
  };
  // One of the two.
  struct Layer {
    std::optional<HeldLayer> held;
    std::optional<PackedSequences> packed;
  };
  // What the layers on one device have in common.
  struct Stage {
    std::vector<size_t> packed_layers;
    std::unique_ptr<PackedMemory> memory;  // of these; null where there is none
    std::optional<SideStreams> streams;    // where there is such memory
    StepPositions positions;
    at::Tensor tokens;  // of each row in this step, with the newest: [rows] of int32
    DeviceNumbers numbers;
  };

  void ReleaseMemory(int64_t row);
  // [rows, heads, head_dim]
  at::Tensor OfRows(const at::Tensor& newest) const;
  at::Tensor Attended(size_t layer, const HeldLayer& held, const QueryKeyValue& newest) const;
  at::Tensor AttendPacked(size_t layer, const QueryKeyValue& newest);
  // query: [rows, kv_heads, query heads that share it, head_dim]
  at::Tensor AttendTogether(size_t stage, const HeldLayer& layer, const at::Tensor& query,
                            const ScoreRule& rule) const;
  at::Tensor AttendOneByOne(const HeldLayer& layer, const at::Tensor& query,
                            const ScoreRule& rule) const;
  // [rows, 1, 1, tokens], float32: -inf where a row does not see a token
  const at::Tensor& MaskOf(size_t stage, int64_t window_tokens, int64_t tokens) const;

  const Decoder& decoder_;
  int64_t max_tokens_;
  CacheForms forms_;
  std::vector<Layer> layers_;
  std::vector<int64_t> tokens_of_row_;  // 0 where no sequence is
  std::vector<char> is_live_;           // by row
  std::vector<Stage> stages_;
  // Of this step, by stage and window.
  mutable std::map<std::pair<size_t, int64_t>, at::Tensor> masks_;
};

}  // namespace kvtune
