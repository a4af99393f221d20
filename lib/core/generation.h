// What a model is asked to write: prompts continued greedily under plans, without any tensor types.
//
// All plans and prompts go into one request, because reading the weights once for many sequences is
// what makes generation cheap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
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

// The text of tokens, by the tokenizer of the model. Threads call it at the same time.
using TextOfTokens = std::function<std::string(std::span<const int32_t> tokens)>;

// Texts behind which nothing of a sequence counts. All but the function is data, which other
// processes can be told; each of them has the model's tokenizer.
struct StopTexts {
  std::vector<std::string> texts = {};
  size_t newest_tokens = 0;   // that may hold the end of a stop, and all of it
  TextOfTokens text_of = {};  // may be empty where there are no texts

  // Whether the newest tokens hold a stop. REQUIRES: asked after each token.
  bool AreIn(std::span<const int32_t> generated) const;
};

struct GenerationRequest {
  std::span<const PrecisionPlan> plans;
  std::span<const TokenIds> prompts;
  // So many tokens, less than any prompt has, begin every prompt: their pass is made once.
  int64_t shared_tokens = 0;
  // Rows of the same prompt should stand together, so that its exact pass is made once.
  std::span<const GenerationRow> rows;
  int64_t max_new_tokens = 256;
  // A sequence ends in front of one of these.
  std::vector<int32_t> end_tokens;
  // A sequence ends behind the token that completes one of these.
  StopTexts stops = {};
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
