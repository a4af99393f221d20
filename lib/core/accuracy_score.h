// How many items of a task a plan gets right, and how its answers differ from the exact model's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lib/base/json_fields.h"
#include "lib/base/statistics.h"

namespace kvtune {

struct AccuracyScore {
  std::string task;
  int64_t items = 0;
  double strict = 0;  // share of right answers, higher is better
  // The same by the protocol's looser rule; equal to `strict` where it knows only one.
  double flexible = 0;
  double standard_error = 0;  // of `strict` over items
  int64_t invalid = 0;        // items without an answer by the strict rule
  int64_t tokens = 0;         // generated for all items; 0 where nothing is generated

  // Paired with the exact plan on the same items, by the strict rule.
  int64_t lost = 0;          // items that the exact plan has right and this one wrong
  int64_t gained = 0;        // the reverse
  double mcnemar_p = 1;      // exact and two-sided: how likely such flips are by chance
  Interval difference = {};  // the 95 % interval of this plan's share minus the exact one's
  // How many items would decide whether the observed difference is one. nullopt where it is decided
  // or none was seen.
  std::optional<int64_t> items_to_decide = std::nullopt;
  // How many items would show a true difference of one point, given how often the two disagree.
  int64_t items_to_see_a_point = 0;

  friend bool operator==(const AccuracyScore&, const AccuracyScore&) = default;
};

// {"task", "items", "strict", "flexible", "stderr", "invalid", "tokens", "lost", "gained",
// "mcnemar_p", "difference_interval", "items_to_decide", "items_to_see_a_point"}
Json ToJson(const AccuracyScore& score);
AccuracyScore AccuracyScoreFromJson(JsonFields fields);

// Whether the plan has lost answers beyond chance: more lost than gained, and p below 0.05.
bool IsWorse(const AccuracyScore& score);

}  // namespace kvtune
