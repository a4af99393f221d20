// How well a plan scores on a set of prompts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

// The score of one plan on one prompt. These are kept beside the summary so that intervals can be
// taken over prompts and two plans can be compared prompt by prompt.
struct PromptScore {
  int64_t tokens = 0;        // scored positions: those with a next token in the prompt
  double kl_sum = 0;         // nats, >= 0, lower is better
  double nll_sum = 0;        // nats, the plan's own negative log-likelihood of the next token
  double exact_nll_sum = 0;  // nats, the exact model's negative log-likelihood of it
  int64_t top1_matches = 0;  // positions where plan and exact model prefer the same token
  // KL in nats of each scored position. Empty once it is summarized. The gate's records keep only
  // the largest ones.
  std::vector<float> token_kl;
};

// The joint score of a plan: all of its layers are quantized at once. KL is the forward KL from the
// exact to the quantized next-token distribution.
struct PlanScore {
  int64_t prompts = 0;
  int64_t tokens = 0;
  double kl_mean = 0;         // nats per scored token, >= 0, lower is better
  double kl_p99 = 0;          // 99th percentile over scored tokens
  double kl_p999 = 0;         // 99.9th percentile
  double top1_agreement = 1;  // share of scored tokens, higher is better
  double nll = 0;             // nats per scored token
  double delta_nll = 0;       // nll minus the nll of the exact model
  std::vector<PromptScore> per_prompt;
  // Set only for a plan that racing stopped (search/racing.h): the loss to expect over all prompts,
  // by the objective of the search (lib/core/objective.h). The other figures of such a plan are
  // over the prompts on which it was scored.
  std::optional<double> expected_loss;

  bool complete() const { return !expected_loss.has_value(); }
};

// Returns the score over all of `prompts`. They stay in per_prompt, but without their token_kl.
// Throws Error when there are no prompts.
PlanScore Summarize(std::vector<PromptScore> prompts);

// Writes the fields that docs/artifacts.md lists, without per_prompt.
Json ToJson(const PlanScore& score);
PlanScore PlanScoreFromJson(JsonFields fields);

}  // namespace kvtune
