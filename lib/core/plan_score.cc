#include "lib/core/plan_score.h"

#include <nlohmann/json.hpp>

namespace kvtune {

Json ToJson(const PlanScore& score) {
  return {{"prompts", score.prompts},
          {"tokens", score.tokens},
          {"kl_mean", score.kl_mean},
          {"kl_p99", score.kl_p99},
          {"kl_p999", score.kl_p999},
          {"top1_agreement", score.top1_agreement},
          {"nll", score.nll},
          {"delta_nll", score.delta_nll}};
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
  fields.Ignore("kl_mean_interval");
  fields.RequireNoOthers();
  return score;
}

}  // namespace kvtune
