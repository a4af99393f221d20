// How well a plan scores on a set of prompts.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
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
  // The sum of the total variation distances, half of sum |p - q|, in 0 to `tokens`. nullopt where
  // it was not measured.
  std::optional<double> total_variation_sum = std::nullopt;
  int64_t first_position = 0;  // of the scored ones, counted from the prompt's first token
  // KL in nats of each scored position, in their order. Empty once it is summarized. The gate's
  // records keep only the largest ones.
  std::vector<float> token_kl;
  // The plan's own negative log-likelihood of the same positions' next tokens, in nats. Empty once
  // it is summarized, and where nothing measured it.
  std::vector<float> token_nll = {};
};

// The loss at the positions [from, to) of the prompts.
struct PositionLoss {
  int64_t from = 0;
  int64_t to = 0;
  int64_t tokens = 0;  // scored positions of all prompts that lie there
  double kl_mean = 0;
  friend bool operator==(const PositionLoss&, const PositionLoss&) = default;
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
  // The total variation distance per scored token. 1 minus it is the share of draft tokens that
  // speculative decoding is expected to keep. nullopt in files of earlier versions.
  std::optional<double> total_variation = std::nullopt;
  // (sum of KL)^2 / sum of KL^2: how many tokens carry the loss. The mean over a thousand tokens is
  // no better known than one over so many that lose alike. nullopt in files of earlier versions,
  // and where nothing is lost.
  std::optional<double> effective_tokens = std::nullopt;
  // The loss by position, in ranges that grow fourfold: [0, 64), [64, 256), ... Ranges without
  // tokens are left out. Empty in files of earlier versions.
  std::vector<PositionLoss> by_position = {};
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

// More than any token loses, and few enough that no sum of them overflows.
inline constexpr double kMostNats = 1e30;

// A loss as it is read from a file, in nats per token: 0 or more but for rounding.
double ReadLoss(JsonFields& fields, std::string_view key);
// The same where it may have either sign, as differences have.
double ReadLossChange(JsonFields& fields, std::string_view key);

}  // namespace kvtune
