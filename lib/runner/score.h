// Scores a population of plans in one walk through the layers.
#pragma once

#include <functional>
#include <vector>

#include "lib/core/measured_model.h"
#include "lib/runner/decoder.h"
#include "lib/runner/plan_tree.h"
#include "lib/runner/sharing.h"

namespace kvtune {

// Receives what a node of a layer stores of the prompt, whose number of tokens it has.
using OnStored = std::function<void(size_t node, const at::Tensor& keys, const at::Tensor& values)>;

// Receives the exact keys and values of a layer's parents, from `first_parent` on: [parents,
// kv_heads, tokens, head_dim].
using OnProjected =
    std::function<void(size_t first_parent, const at::Tensor& keys, const at::Tensor& values)>;

// Tokens that stand in front of those that a pass takes through a layer.
struct EarlierTokens {
  at::Tensor keys;                // [variants, kv_heads, tokens, key_head_dim], exact
  at::Tensor values;              // [variants, kv_heads, tokens, value_head_dim], exact
  std::vector<size_t> of_parent;  // for each parent, which variant

  int64_t tokens() const { return keys.defined() ? keys.size(2) : 0; }
};

struct PlanPass {
  // The number of queries at the beginning that attend exactly (PrefillMode::kExact).
  int64_t exact_queries = 0;
  Sharing sharing = Sharing::kAttention;
  bool rounding_noise = false;  // moves every attention output by one rounding step
  // Threads for the work on one prompt; more than one only when not every thread has its own
  // prompt.
  int threads = 1;
  // May be empty. Threads call it for different nodes at once. keys, values: [1, kv_heads, tokens,
  // head_dim], with the tokens of an unfinished group as they are
  OnStored stored = {};
  // May be empty. On a GPU without room it may be called for the same parents again.
  OnProjected projected = {};
  // Where there are some, the hidden states are those of the tokens behind them. What is stored is
  // that of all tokens. REQUIRES: exact_queries == 0 then.
  EarlierTokens earlier = {};
};

// Takes the hidden states of one prompt, for all nodes of the previous layer, through `layer`:
// [parents, tokens, hidden] -> [nodes, tokens, hidden]. On a CPU the numbers of a node depend on
// nothing but its plan and the prompt, whatever other nodes there are.
at::Tensor AdvancePlans(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes,
                        const at::Tensor& hidden, const PlanPass& pass);

// Returns the score of each variant of one prompt's final hidden states against the exact model's.
// The caller has to fill in exact_nll_sum. The first pass.exact_queries positions are not scored.
// hidden: [variants, tokens, hidden], before the final norm; reference: [tokens, hidden], after it.
std::vector<PromptScore> ScoreHidden(const Decoder& decoder, const at::Tensor& hidden,
                                     const at::Tensor& reference, const TokenIds& prompt,
                                     const PlanPass& pass);

}  // namespace kvtune
