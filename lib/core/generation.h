// What a model is asked to write: prompts continued greedily under plans, without any tensor types.
//
// All plans and prompts go into one request, because reading the weights once for many sequences is
// what makes generation cheap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/core/precision_plan.h"
#include "lib/core/token_ids.h"

namespace kvtune {

// One sequence: a prompt that is continued with a cache of this plan. Both are indices into the
// request.
struct GenerationRow {
  size_t plan = 0;
  size_t prompt = 0;

  friend auto operator<=>(const GenerationRow&, const GenerationRow&) = default;
};

struct GenerationRequest {
  std::span<const PrecisionPlan> plans;
  std::span<const TokenIds> prompts;
  // Rows of the same prompt should stand together, so that its exact pass is made once.
  std::span<const GenerationRow> rows;
  int64_t max_new_tokens = 256;
  // A sequence ends in front of one of these.
  std::vector<int32_t> end_tokens;
  // Asked after each token whether the tokens so far are all that is wanted of a sequence, for
  // example because their text holds a stop. May be empty. Threads call it at the same time.
  std::function<bool(std::span<const int32_t> generated)> is_complete;
};

// What was generated for a row, without its prompt and without the end token.
struct GeneratedRow {
  size_t row = 0;  // index into GenerationRequest::rows
  TokenIds tokens;
};

// Called once for each row, in the order in which they end. Calls never overlap. Returns whether to
// go on: after `false`, rows that have not ended are dropped.
using OnGeneratedRow = std::function<bool(const GeneratedRow&)>;

}  // namespace kvtune
