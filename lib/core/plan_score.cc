#include "lib/core/plan_score.h"

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/statistics.h"

namespace kvtune {

PlanScore Summarize(std::vector<PromptScore> prompts) {
  PlanScore score;
  std::vector<double> token_kl;
  double kl_sum = 0, nll_sum = 0, exact_nll_sum = 0;
  int64_t top1_matches = 0;
  for (PromptScore& prompt : prompts) {
    token_kl.insert(token_kl.end(), prompt.token_kl.begin(), prompt.token_kl.end());
    prompt.token_kl = {};
    score.tokens += prompt.tokens;
    kl_sum += prompt.kl_sum;
    nll_sum += prompt.nll_sum;
    exact_nll_sum += prompt.exact_nll_sum;
    top1_matches += prompt.top1_matches;
  }
  score.prompts = static_cast<int64_t>(prompts.size());
  if (score.tokens == 0) throw Error("scoring plans: found no prompts, expected at least 1");
  const auto tokens = static_cast<double>(score.tokens);
  score.kl_mean = kl_sum / tokens;
  score.kl_p99 = Quantile(token_kl, 0.99);
  score.kl_p999 = Quantile(token_kl, 0.999);
  score.top1_agreement = static_cast<double>(top1_matches) / tokens;
  score.nll = nll_sum / tokens;
  score.delta_nll = score.nll - exact_nll_sum / tokens;
  score.per_prompt = std::move(prompts);
  return score;
}

Json ToJson(const PlanScore& score) {
  return {{"prompts", score.prompts}, {"tokens", score.tokens},
          {"kl_mean", score.kl_mean}, {"kl_p99", score.kl_p99},
          {"kl_p999", score.kl_p999}, {"top1_agreement", score.top1_agreement},
          {"nll", score.nll},         {"delta_nll", score.delta_nll}};
}

PlanScore PlanScoreFromJson(JsonFields fields) {
  PlanScore score;
  score.prompts = fields.Integer("prompts");
  score.tokens = fields.Integer("tokens");
  score.kl_mean = fields.Number("kl_mean");
  score.kl_p99 = fields.Number("kl_p99");
  score.kl_p999 = fields.Number("kl_p999");
  score.top1_agreement = fields.Number("top1_agreement");
  score.nll = fields.Number("nll");
  score.delta_nll = fields.Number("delta_nll");
  // Only a held-out score has an interval, and pareto_front.cc reads it.
  fields.Ignore("kl_mean_interval");
  fields.RequireNoOthers();
  return score;
}

}  // namespace kvtune
