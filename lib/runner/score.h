// Scoring a population of plans in one walk through the layers.
#pragma once

#include "lib/core/measured_model.h"
#include "lib/runner/decoder.h"
#include "lib/runner/plan_tree.h"
#include "lib/runner/sharing.h"

namespace kvtune {

struct PlanPass {
  int64_t exact_queries = 0;  // queries at the beginning that attend exactly (PrefillMode::kExact)
  Sharing sharing = Sharing::kAttention;
  bool rounding_noise = false;  // moves every attention output by one rounding step
  int threads = 1;              // for one prompt, where not all work on a prompt of their own
};

// Takes one prompt's hidden states of all nodes of the previous layer through `layer`:
// [parents, tokens, hidden] -> [nodes, tokens, hidden]. On a CPU a node's numbers depend on its
// plan and prompt alone, whatever other nodes there are.
at::Tensor AdvancePlans(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes,
                        const at::Tensor& hidden, const PlanPass& pass);

// Scores of each variant of one prompt's final hidden states against the exact model's;
// exact_nll_sum is left for the caller to fill. hidden: [variants, tokens, hidden], before the
// final norm; reference: [tokens, hidden], after it. Positions of pass.exact_queries are left out.
std::vector<PromptScore> ScoreHidden(const Decoder& decoder, const at::Tensor& hidden,
                                     const at::Tensor& reference, const TokenIds& prompt,
                                     const PlanPass& pass);

}  // namespace kvtune
