#include "search/racing.h"

#include <algorithm>
#include <boost/math/distributions/hypergeometric.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <iterator>
#include <optional>
#include <utility>

#include "lib/core/objective.h"

namespace kvtune {
namespace {

constexpr size_t kFewestPrompts = 8;

std::vector<double> LossesOf(std::span<const PromptScore> prompts) {
  std::vector<double> losses;
  for (const PromptScore& prompt : prompts) losses.push_back(LossOf(prompt));
  return losses;
}

double Sum(std::span<const double> values, size_t count) {
  double sum = 0;
  for (const double value : values.first(count)) sum += value;
  return sum;
}

// The sign test of a finite number of items (racing.h).
bool LosesMoreItems(std::span<const double> plan, std::span<const double> rival, size_t item_count,
                    double confidence) {
  unsigned lost = 0, gained = 0;
  for (size_t i = 0; i < plan.size(); ++i) {
    lost += plan[i] > rival[i];
    gained += plan[i] < rival[i];
  }
  if (lost <= gained) return false;
  if (lost - gained > item_count - plan.size()) return true;  // the others cannot make up for it
  const unsigned differ = lost + gained;
  const double in_all = static_cast<double>(differ) * static_cast<double>(item_count) /
                        static_cast<double>(plan.size());
  const auto half = static_cast<unsigned>(std::ceil(in_all / 2));
  if (lost > half) return true;  // more than there would be in all
  const boost::math::hypergeometric_distribution<double> of_chance(half, differ, 2 * half);
  return boost::math::cdf(boost::math::complement(of_chance, lost - 1)) < 1 - confidence;
}

struct Entrant {
  PlanCost cost;
  std::vector<double> losses;        // of the prompts scored so far
  std::vector<PromptScore> prompts;  // only of the plans of the race
  std::optional<PlanScore> score;    // set once the entrant is done
  // For a plan that stopped: the index of the entrant that it lost to, and after how many prompts.
  size_t rival = 0;
  size_t stopped_at = 0;
};

// Among the entrants that take no more than entrant i, the one with the smallest loss so far; i
// itself when none has a smaller loss than it. Plans that stopped earlier need not be considered,
// because the rival that stopped them is better still.
size_t BestRival(const std::vector<Entrant>& entrants, size_t i, size_t prompts) {
  size_t best = i;
  double least = Sum(entrants[i].losses, prompts);
  for (size_t j = 0; j < entrants.size(); ++j) {
    if (!TakesNoMore(entrants[j].cost, entrants[i].cost)) continue;
    if (entrants[j].losses.size() < prompts) continue;
    const double loss = Sum(entrants[j].losses, prompts);
    if (loss >= least) continue;
    least = loss;
    best = j;
  }
  return best;
}

}  // namespace

std::vector<size_t> RacingRounds(size_t prompt_count) {
  std::vector<size_t> rounds;
  for (size_t end = std::max(kFewestPrompts, prompt_count / 8); end < prompt_count; end *= 2) {
    rounds.push_back(end);
  }
  rounds.push_back(prompt_count);
  return rounds;
}

bool ClearlyWorse(std::span<const double> plan, std::span<const double> rival, size_t prompt_count,
                  const RacingOptions& options) {
  if (options.losses == LossKind::kVerdicts)
    return LosesMoreItems(plan, rival, prompt_count, options.confidence);
  const size_t seen = plan.size();
  if (seen < 2) return false;
  const auto n = static_cast<double>(seen);
  const double plan_mean = Sum(plan, seen) / n;
  const double rival_mean = Sum(rival, seen) / n;
  if (!(rival_mean > 0) || !(plan_mean > rival_mean)) return false;
  double squares = 0;
  for (size_t i = 0; i < seen; ++i) {
    const double residual = plan[i] / plan_mean - rival[i] / rival_mean;
    squares += residual * residual;
  }
  const double unseen = 1 - n / static_cast<double>(prompt_count);
  const double t = boost::math::quantile(boost::math::students_t(n - 1), options.confidence);
  return std::log(plan_mean / rival_mean) > t * std::sqrt(unseen * squares / (n * (n - 1)));
}

// Most plans of a batch are not on the front, and a few prompts show it, so the model runs on the
// other prompts only for plans that may still be on it. Rivals of earlier batches take part, so
// that a plan without a chance against the front so far stops in its first round.
std::vector<PlanScore> Race(PlanEvaluator& evaluator, std::span<const PrecisionPlan> plans,
                            std::span<const PlanCost> costs, std::span<const Rival> rivals,
                            const RacingOptions& options) {
  const size_t prompt_count = evaluator.prompt_count();
  std::vector<Entrant> entrants(plans.size());
  for (size_t i = 0; i < plans.size(); ++i) entrants[i].cost = costs[i];
  for (const Rival& rival : rivals) {
    Entrant& entrant = entrants.emplace_back();
    entrant.cost = rival.cost;
    entrant.losses = LossesOf(rival.score->per_prompt);
    entrant.score = *rival.score;
  }

  std::vector<size_t> running(plans.size());
  for (size_t i = 0; i < running.size(); ++i) running[i] = i;
  std::vector<size_t> stopped;  // in the order in which they stopped
  size_t begin = 0;
  for (const size_t end : RacingRounds(prompt_count)) {
    std::vector<PrecisionPlan> scored;
    for (const size_t i : running) scored.push_back(plans[i]);
    if (scored.empty()) break;
    std::vector<std::vector<PromptScore>> scores = evaluator.ScorePrompts(scored, {begin, end});
    for (size_t k = 0; k < running.size(); ++k) {
      Entrant& entrant = entrants[running[k]];
      const std::vector<double> losses = LossesOf(scores[k]);
      entrant.losses.insert(entrant.losses.end(), losses.begin(), losses.end());
      std::ranges::move(scores[k], std::back_inserter(entrant.prompts));
    }
    begin = end;
    if (end == prompt_count) break;
    std::vector<size_t> on;
    for (const size_t i : running) {
      const size_t rival = BestRival(entrants, i, end);
      const bool stops = rival != i && ClearlyWorse(entrants[i].losses,
                                                    std::span(entrants[rival].losses).first(end),
                                                    prompt_count, options);
      if (stops) {
        entrants[i].rival = rival;
        entrants[i].stopped_at = end;
        stopped.push_back(i);
      } else {
        on.push_back(i);
      }
    }
    running = std::move(on);
  }

  for (const size_t i : running) entrants[i].score = Summarize(std::move(entrants[i].prompts));
  // A plan's expected loss needs its rival's, and a rival runs for longer than the plan it beat. So
  // the plans that stopped last are computed first.
  for (size_t k = stopped.size(); k-- > 0;) {
    Entrant& loser = entrants[stopped[k]];
    const Entrant& rival = entrants[loser.rival];
    loser.score = Summarize(std::move(loser.prompts));
    loser.score->expected_loss = LossOverAllPrompts(*rival.score) *
                                 Sum(loser.losses, loser.stopped_at) /
                                 Sum(rival.losses, loser.stopped_at);
  }
  std::vector<PlanScore> scores;
  for (size_t i = 0; i < plans.size(); ++i) scores.push_back(std::move(*entrants[i].score));
  return scores;
}

}  // namespace kvtune
