#include "lib/core/accuracy_score.h"

#include <nlohmann/json.hpp>

namespace kvtune {

Json ToJson(const AccuracyScore& score) {
  Json json = {{"task", score.task},
               {"items", score.items},
               {"strict", score.strict},
               {"flexible", score.flexible},
               {"stderr", score.standard_error},
               {"invalid", score.invalid},
               {"tokens", score.tokens},
               {"lost", score.lost},
               {"gained", score.gained},
               {"mcnemar_p", score.mcnemar_p},
               {"difference_interval", {score.difference.low, score.difference.high}},
               {"items_to_decide", nullptr},
               {"items_to_see_a_point", score.items_to_see_a_point}};
  if (score.items_to_decide) json["items_to_decide"] = *score.items_to_decide;
  return json;
}

AccuracyScore AccuracyScoreFromJson(JsonFields fields) {
  AccuracyScore score{.task = fields.String("task"),
                      .items = fields.Integer("items"),
                      .strict = fields.NumberWithin("strict", 0, 1),
                      .flexible = fields.NumberWithin("flexible", 0, 1),
                      .standard_error = fields.Number("stderr"),
                      .invalid = fields.Integer("invalid"),
                      .tokens = fields.Integer("tokens"),
                      .lost = fields.Integer("lost"),
                      .gained = fields.Integer("gained"),
                      .mcnemar_p = fields.NumberWithin("mcnemar_p", 0, 1),
                      .difference = {}};
  const std::vector<double> interval = fields.Numbers("difference_interval");
  if (interval.size() != 2 || interval[0] > interval[1])
    fields.Fail("difference_interval", "found no interval, expected [low, high]");
  score.difference = {interval[0], interval[1]};
  if (!fields.Value("items_to_decide").is_null())
    score.items_to_decide = fields.Integer("items_to_decide");
  score.items_to_see_a_point = fields.Integer("items_to_see_a_point");
  fields.RequireNoOthers();
  return score;
}

bool IsWorse(const AccuracyScore& score) {
  return score.lost > score.gained && score.mcnemar_p < 0.05;
}

}  // namespace kvtune
