#include "lib/report/accuracy_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "lib/core/objective.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

std::string Percent(double share) { return fmt::format("{:.1f}", 100 * share); }

// Ranks from 0 up; equal numbers share the mean of their ranks.
std::vector<double> RanksOf(const std::vector<double>& numbers) {
  std::vector<double> ranks;
  for (const double number : numbers) {
    double below = 0, equal = 0;
    for (const double other : numbers) {
      below += other < number ? 1 : 0;
      equal += other == number ? 1 : 0;
    }
    ranks.push_back(below + (equal - 1) / 2);
  }
  return ranks;
}

// Pearson's correlation of ranks; nullopt where one side does not vary.
std::optional<double> RankCorrelation(const std::vector<double>& a, const std::vector<double>& b) {
  const std::vector<double> x = RanksOf(a), y = RanksOf(b);
  const double mean = (static_cast<double>(x.size()) - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  if (xx == 0 || yy == 0) return std::nullopt;
  return xy / std::sqrt(xx * yy);
}

bool HasFlexible(std::span<const ScoredPlan> plans) {
  return std::ranges::any_of(plans, [](const ScoredPlan& plan) {
    return plan.accuracy->flexible != plan.accuracy->strict;
  });
}

bool WasSearched(std::span<const ScoredPlan> plans) {
  return std::ranges::any_of(
      plans, [](const ScoredPlan& plan) { return plan.search_accuracy.has_value(); });
}

}  // namespace

std::string AccuracyTable(std::span<const ScoredPlan> plans, size_t width) {
  const bool has_flexible = HasFlexible(plans), was_searched = WasSearched(plans);
  std::vector<Column> columns = {
      {"plan", Align::kLeft}, {"eff. bits"}, {"bytes/token"}, {"right %"}, {"stderr"}};
  if (has_flexible) columns.push_back({"flexible %"});
  if (was_searched) columns.push_back({"in search %"});
  columns.insert(columns.end(), {{"lost"},
                                 {"gained"},
                                 {"p"},
                                 {"points (95 %)"},
                                 {"invalid"},
                                 {"tokens"},
                                 {"", Align::kLeft}});
  TextTable table(columns);
  for (const ScoredPlan& plan : plans) {
    const AccuracyScore& score = *plan.accuracy;
    std::vector<std::string> cells = {plan.name, fmt::format("{:.2f}", plan.cost.effective_bits),
                                      fmt::format("{:.0f}", plan.cost.bytes_per_token),
                                      Percent(score.strict), Percent(score.standard_error)};
    if (has_flexible) cells.push_back(Percent(score.flexible));
    if (was_searched) {
      cells.push_back(plan.search_accuracy ? Percent(plan.search_accuracy->strict) : "");
    }
    for (const int64_t count : {score.lost, score.gained})
      cells.push_back(fmt::format("{}", count));
    cells.push_back(fmt::format("{:.2g}", score.mcnemar_p));
    cells.push_back(
        fmt::format("{:+.1f} to {:+.1f}", 100 * score.difference.low, 100 * score.difference.high));
    cells.push_back(fmt::format("{}", score.invalid));
    cells.push_back(fmt::format("{}", score.tokens));
    cells.emplace_back(IsWorse(score) ? "worse" : "");
    table.AddRow(std::move(cells));
  }
  return table.Render(width);
}

const ScoredPlan* SmallestNotWorse(std::span<const ScoredPlan> plans) {
  const ScoredPlan* smallest = nullptr;
  for (const ScoredPlan& plan : plans) {
    if (IsWorse(*plan.accuracy)) continue;
    if (smallest == nullptr || plan.cost.bytes_per_token < smallest->cost.bytes_per_token)
      smallest = &plan;
  }
  return smallest;
}

std::string AccuracySentences(std::span<const ScoredPlan> plans, const ScoredPlan& exact) {
  const AccuracyScore& reference = *exact.accuracy;
  std::string text = fmt::format(
      "The exact model has {} % of {} items of \"{}\" right (standard error {} points). Plans are "
      "compared with it item by item.\n",
      Percent(reference.strict), reference.items, reference.task,
      Percent(reference.standard_error));
  const ScoredPlan* smallest = SmallestNotWorse(plans);
  if (smallest == nullptr)
    return text + "Every plan is worse than it (McNemar's exact p < 0.05).\n";
  const AccuracyScore& score = *smallest->accuracy;
  text += fmt::format(
      "Fewest bytes and not worse: {} ({:.0f} bytes a token, {} lost, {} gained, p = {:.2g}). Its "
      "share of right answers minus the exact one is within {:+.1f} to {:+.1f} points (95 %).\n",
      smallest->name, smallest->cost.bytes_per_token, score.lost, score.gained, score.mcnemar_p,
      100 * score.difference.low, 100 * score.difference.high);
  if (score.items_to_see_a_point > score.items) {
    text += fmt::format("That it loses one point could be seen with about {} items.\n",
                        score.items_to_see_a_point);
  }
  return text;
}

std::string SplitSentence(const AnswerSearch& answers) {
  return fmt::format(
      "Plans were searched on {} items of the task, for which {} tokens were generated, and are "
      "tested on the other {}.\n",
      answers.search_items, answers.generated_tokens, answers.test_items);
}

std::string AgreementSentence(std::span<const ScoredPlan> plans) {
  if (plans.size() < 3) return "";
  const bool held_out =
      std::ranges::all_of(plans, [](const ScoredPlan& plan) { return plan.held_out.has_value(); });
  std::vector<double> losses, wrong;
  for (const ScoredPlan& plan : plans) {
    losses.push_back(LossOf(plan, held_out ? ScoreSet::kHeldOut : ScoreSet::kCalibration));
    wrong.push_back(1 - plan.accuracy->strict);
  }
  const std::optional<double> correlation = RankCorrelation(losses, wrong);
  if (!correlation) return "";
  std::string text = fmt::format(
      "{} {} and wrong answers have a rank correlation of {:.2f} over {} plans.",
      held_out ? "Held-out" : "Calibration", Describe().word, *correlation, plans.size());
  // Two plans whose order differs by more than both standard errors together.
  size_t better = 0, worse = 0;
  double widest = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    for (size_t j = 0; j < plans.size(); ++j) {
      const double room =
          std::hypot(plans[i].accuracy->standard_error, plans[j].accuracy->standard_error);
      const double gap = wrong[i] - wrong[j] - 2 * room;
      if (losses[i] >= losses[j] || gap <= widest) continue;
      widest = gap;
      better = j;
      worse = i;
    }
  }
  if (widest > 0) {
    text += fmt::format(
        " They disagree most about {} and {}: {} has the lower loss, {} has {} % "
        "right and not {} %.",
        plans[worse].name, plans[better].name, plans[worse].name, plans[better].name,
        Percent(plans[better].accuracy->strict), Percent(plans[worse].accuracy->strict));
  }
  return text + "\n";
}

}  // namespace kvtune
