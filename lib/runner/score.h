// Scoring a population of plans in one walk through the layers.
#pragma once

#include "lib/runner/decoder.h"
#include "lib/runner/model_runner.h"
#include "lib/runner/plan_tree.h"

namespace kvtune {

// Hidden states [nodes, tokens, hidden] of one prompt after the last layer, one per leaf of the tree,
// before the final norm.
at::Tensor RunPlanTree(const Decoder& decoder, const PlanTree& tree, const TokenIds& prompt, int64_t exact_queries);

// Losses of each variant of one prompt's final hidden states against the exact model's.
// hidden: [variants, tokens, hidden], before the final norm; reference: [tokens, hidden], after it.
// Positions before `first_scored` are left out.
std::vector<PromptLosses> ScoreHidden(const Decoder& decoder, const at::Tensor& hidden, const at::Tensor& reference,
                                      const TokenIds& prompt, int64_t first_scored);

}  // namespace kvtune
