// How good a plan is on a set of prompts.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

// One prompt's share, kept so that intervals can be made over prompts.
struct PromptScore {
  int64_t tokens = 0;           // scored positions: those with a next token in the prompt
  double kl_sum = 0;            // nats, >= 0, lower is better
  double nll_sum = 0;           // nats, the plan's own negative log-likelihood of the next token
  int64_t top1_matches = 0;     // positions where plan and exact model prefer the same token
};

// Joint score: all layers quantized at once. KL is the forward KL from the exact to the quantized
// next-token distribution.
struct PlanScore {
  int64_t prompts = 0;
  int64_t tokens = 0;
  double kl_mean = 0;         // nats per scored token, >= 0, lower is better
  double kl_p99 = 0;          // 99th percentile over scored tokens
  double kl_p999 = 0;         // 99.9th percentile
  double top1_agreement = 1;  // share of scored tokens, higher is better
  double nll = 0;             // nats per scored token
  double delta_nll = 0;       // nll minus the exact model's
  std::vector<PromptScore> per_prompt;
};

// The fields of docs/artifacts.md, without per_prompt.
Json ToJson(const PlanScore& score);
PlanScore PlanScoreFromJson(JsonFields fields);

}  // namespace kvtune
