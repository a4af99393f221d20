#include "lib/core/plan_score.h"

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/statistics.h"

namespace kvtune {
namespace {

constexpr int64_t kFirstRange = 64;
constexpr int64_t kRangeGrowth = 4;

// The mean of losses by position. The ranges are in order and hold every position.
class PositionSums {
 public:
  void Add(const PromptScore& prompt) {
    int64_t position = prompt.first_position;
    for (const float kl : prompt.token_kl) {
      size_t range = 0;
      for (int64_t end = kFirstRange; position >= end; end *= kRangeGrowth) ++range;
      if (range >= sums_.size()) sums_.resize(range + 1);
      ++sums_[range].tokens;
      sums_[range].kl_mean += static_cast<double>(kl);
      ++position;
    }
  }

  std::vector<PositionLoss> Means() const {
    std::vector<PositionLoss> means;
    int64_t from = 0, to = kFirstRange;
    for (PositionLoss sum : sums_) {
      sum.from = from;
      sum.to = to;
      if (sum.tokens > 0) {
        sum.kl_mean /= static_cast<double>(sum.tokens);
        means.push_back(sum);
      }
      from = to;
      to *= kRangeGrowth;
    }
    return means;
  }

 private:
  std::vector<PositionLoss> sums_;  // kl_mean is still a sum
};

std::optional<double> EffectiveTokens(const std::vector<double>& token_kl) {
  double sum = 0, squares = 0;
  for (const double kl : token_kl) {
    sum += kl;
    squares += kl * kl;
  }
  if (!(squares > 0)) return std::nullopt;
  return sum * sum / squares;
}

// By how much rounding may bring a mean KL below 0, and a mean of probabilities out of 0 to 1.
constexpr double kLossRounding = 1e-4;
constexpr double kProbabilityRounding = 1e-3;

Json ToJson(const PositionLoss& range) {
  return {
      {"from", range.from}, {"to", range.to}, {"tokens", range.tokens}, {"kl_mean", range.kl_mean}};
}

PositionLoss PositionLossFromJson(JsonFields fields) {
  const PositionLoss range{.from = fields.IntegerFrom("from", 0),
                           .to = fields.IntegerFrom("to", 0),
                           .tokens = fields.IntegerFrom("tokens", 0),
                           .kl_mean = ReadLoss(fields, "kl_mean")};
  fields.RequireNoOthers();
  return range;
}

}  // namespace

PlanScore Summarize(std::vector<PromptScore> prompts) {
  PlanScore score;
  std::vector<double> token_kl;
  double kl_sum = 0, nll_sum = 0, exact_nll_sum = 0;
  int64_t top1_matches = 0;
  std::optional<double> variation_sum = 0;
  PositionSums positions;
  for (PromptScore& prompt : prompts) {
    positions.Add(prompt);
    if (!prompt.total_variation_sum) variation_sum.reset();
    if (variation_sum) *variation_sum += *prompt.total_variation_sum;
    token_kl.insert(token_kl.end(), prompt.token_kl.begin(), prompt.token_kl.end());
    prompt.token_kl = {};
    prompt.token_nll = {};
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
  if (variation_sum) score.total_variation = *variation_sum / tokens;
  score.effective_tokens = EffectiveTokens(token_kl);
  score.by_position = positions.Means();
  score.per_prompt = std::move(prompts);
  return score;
}

Json ToJson(const PlanScore& score) {
  Json json = {{"prompts", score.prompts}, {"tokens", score.tokens},
               {"kl_mean", score.kl_mean}, {"kl_p99", score.kl_p99},
               {"kl_p999", score.kl_p999}, {"top1_agreement", score.top1_agreement},
               {"nll", score.nll},         {"delta_nll", score.delta_nll}};
  if (score.total_variation) json["total_variation"] = *score.total_variation;
  if (score.effective_tokens) json["effective_tokens"] = *score.effective_tokens;
  if (!score.by_position.empty()) {
    json["by_position"] = Json::array();
    for (const PositionLoss& range : score.by_position)
      json["by_position"].push_back(ToJson(range));
  }
  return json;
}

double ReadLoss(JsonFields& fields, std::string_view key) {
  return fields.NumberWithin(key, -kLossRounding, kMostNats);
}

double ReadLossChange(JsonFields& fields, std::string_view key) {
  return fields.NumberWithin(key, -kMostNats, kMostNats);
}

PlanScore PlanScoreFromJson(JsonFields fields) {
  PlanScore score;
  score.prompts = fields.IntegerFrom("prompts", 0);
  score.tokens = fields.IntegerFrom("tokens", 0);
  score.kl_mean = ReadLoss(fields, "kl_mean");
  score.kl_p99 = ReadLoss(fields, "kl_p99");
  score.kl_p999 = ReadLoss(fields, "kl_p999");
  score.top1_agreement = fields.NumberWithin("top1_agreement", 0, 1);
  score.nll = ReadLossChange(fields, "nll");
  score.delta_nll = ReadLossChange(fields, "delta_nll");
  if (fields.Has("total_variation")) {
    score.total_variation =
        fields.NumberWithin("total_variation", -kProbabilityRounding, 1 + kProbabilityRounding);
  }
  if (fields.Has("effective_tokens"))
    score.effective_tokens = fields.NumberWithin("effective_tokens", 0, kMostNats);
  if (fields.Has("by_position")) {
    for (JsonFields& range : fields.Objects("by_position"))
      score.by_position.push_back(PositionLossFromJson(std::move(range)));
  }
  // Only a held-out score has an interval, and pareto_front.cc reads it.
  fields.Ignore("kl_mean_interval");
  fields.Ignore("prompts_for_interval");
  fields.RequireNoOthers();
  return score;
}

}  // namespace kvtune
