// Takes a population of plans through a layer of the model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

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
  // Threads for the work on one batch; more than one only when not every thread has its own batch.
  int threads = 1;
  // How many rows go through a layer in one piece, or the children of one parent where these are
  // more. nullopt: RowsInOnePiece of the device.
  std::optional<int64_t> piece_rows = std::nullopt;
  // May be empty. Threads call it for different nodes at once. keys, values: [1, kv_heads, tokens,
  // head_dim], with the tokens of an unfinished group as they are
  OnStored stored = {};
  // May be empty. On a GPU without room it may be called for the same parents again.
  OnProjected projected = {};
  // Where there are some, the hidden states are those of the tokens behind them. What is stored is
  // that of all tokens. REQUIRES: exact_queries == 0 then.
  EarlierTokens earlier = {};
};

// Returns how many rows of hidden states keep a device busy. 0 on a CPU, where one sequence fills
// the matrix products by itself, and more would crowd it out of the caches.
int64_t RowsInOnePiece(const at::Device& device);

// Takes the hidden states of a prompt, for all nodes of the previous layer, through `layer`:
// [parents, tokens, hidden] -> [nodes, tokens, hidden]. The parents may be those of several prompts
// of equal length, one behind another (RepeatedLayer). On a CPU the numbers of a node depend on
// nothing but its plan and the prompt, whatever other nodes there are, unless pass.piece_rows asks
// for larger pieces.
at::Tensor AdvancePlans(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes,
                        const at::Tensor& hidden, const PlanPass& pass);

}  // namespace kvtune
