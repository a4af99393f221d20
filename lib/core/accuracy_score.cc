#include "lib/core/accuracy_score.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

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
                      .items = fields.IntegerFrom("items", 1),
                      .strict = fields.NumberWithin("strict", 0, 1),
                      .flexible = fields.NumberWithin("flexible", 0, 1),
                      .standard_error = fields.NumberWithin("stderr", 0, 1),
                      .invalid = fields.IntegerFrom("invalid", 0),
                      .tokens = fields.IntegerFrom("tokens", 0),
                      .lost = fields.IntegerFrom("lost", 0),
                      .gained = fields.IntegerFrom("gained", 0),
                      .mcnemar_p = fields.NumberWithin("mcnemar_p", 0, 1),
                      .difference = {}};
  for (const auto& [key, count] :
       {std::pair("invalid", score.invalid), std::pair("lost", score.lost),
        std::pair("gained", score.gained)}) {
    if (count > score.items)
      fields.Fail(key, fmt::format("found {}, expected at most the {} items", count, score.items));
  }
  const std::vector<double> interval = fields.Numbers("difference_interval");
  if (interval.size() != 2 || !(interval[0] <= interval[1]) || interval[0] < -1 || interval[1] > 1)
    fields.Fail("difference_interval", "found no interval, expected [low, high] from -1 to 1");
  score.difference = {interval[0], interval[1]};
  if (!fields.Value("items_to_decide").is_null())
    score.items_to_decide = fields.IntegerFrom("items_to_decide", 0);
  score.items_to_see_a_point = fields.IntegerFrom("items_to_see_a_point", 0);
  fields.RequireNoOthers();
  return score;
}

bool IsWorse(const AccuracyScore& score) {
  return score.lost > score.gained && score.mcnemar_p < 0.05;
}

}  // namespace kvtune
