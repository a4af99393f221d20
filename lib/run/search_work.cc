#include "lib/run/search_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "lib/base/progress.h"
#include "lib/calib/calibrate.h"

namespace kvtune {
namespace {

// Of the plans that generations propose, this share is new (81 distinct plans of the demo model's
// 8 generations of 16).
constexpr double kShareOfNewPlans = 0.6;
// Of the scored plans, this share ends on the front and is scored on the held-out prompts.
constexpr double kShareOnFront = 0.25;
constexpr double kLongSeconds = 30 * 60;

// The most plans that may be scored after the exact one and the uniform ones.
int64_t PlansLeft(const SearchOptions& search, const SearchSize& size) {
  if (search.max_evaluations == 0) return std::numeric_limits<int64_t>::max();
  return std::max<int64_t>(0, search.max_evaluations - static_cast<int64_t>(size.pairs) - 1);
}

// Of `left` plans, `reserved` are the refinement's.
double GroupedPlans(const SearchOptions& search, const SearchSize& size, int64_t left,
                    int64_t reserved) {
  if (size.space > 0 && (search.exact || size.space <= search.enumerate_up_to))
    return static_cast<double>(std::min(size.space, left));
  double plans = kShareOfNewPlans * static_cast<double>(search.population) *
                 static_cast<double>(search.generations);
  if (size.space > 0) plans = std::min(plans, static_cast<double>(size.space));
  return std::min(plans, static_cast<double>(left - reserved));
}

std::string ShorterText(const std::string& options, double seconds) {
  return fmt::format("{} takes about {}", options, RoughDuration(seconds));
}

}  // namespace

SearchWork WorkOf(const SearchStepOptions& options, const SearchSize& size) {
  const auto prompts = static_cast<double>(size.prompts);
  const auto pairs = static_cast<double>(size.pairs);
  const double uniform = pairs + 1;
  SearchWork work;
  work.calibration = ObservationWork(size.pairs) * prompts;
  work.uniform_plans = uniform * prompts;
  // Nothing is refined without the losses of single layers.
  const bool scouts = size.scouted_plans > 0;
  const int64_t left = PlansLeft(options.search, size);
  const int64_t reserved = scouts ? ReservedForRefinement(options.search, left) : 0;
  const double grouped = GroupedPlans(options.search, size, left, reserved);
  const double wanted = scouts ? static_cast<double>(options.search.refinement_evaluations) : 0;
  const double refined = std::min(wanted, static_cast<double>(left) - grouped);
  if (scouts) {
    // Before its layer, a plan of a single layer is the exact model, which is known.
    const auto layers = static_cast<double>(size.layers);
    work.scouting = static_cast<double>(size.scouted_plans) * (layers + 1) / (2 * layers) *
                    size.scouted_share * prompts;
  }
  work.grouped_search = grouped * prompts;
  work.refinement = refined * prompts;
  work.held_out =
      (uniform + kShareOnFront * (grouped + refined)) * static_cast<double>(size.held_out_prompts);
  return work;
}

double WorkLeftAfter(const GenerationReport& report, const SearchStepOptions& options,
                     const SearchWork& work) {
  switch (report.stage) {
    case SearchStage::kUniformPlans:
      return work.after_calibration() - work.uniform_plans;
    case SearchStage::kGroupedSearch: {
      const double done = static_cast<double>(report.generation) /
                          static_cast<double>(std::max(options.search.generations, 1));
      return std::max(0.0, 1 - done) * work.grouped_search + work.refinement + work.held_out;
    }
    case SearchStage::kRefinement: {
      // Rounds are as large as a generation, and some rounds less may be enough.
      const double done =
          static_cast<double>(report.generation) * static_cast<double>(options.search.population) /
          static_cast<double>(std::max<int64_t>(options.search.refinement_evaluations, 1));
      return std::max(0.0, 1 - done) * work.refinement + work.held_out;
    }
  }
  return 0;
}

std::string DurationText(const SearchStepOptions& options, const SearchSize& size,
                         double seconds_per_score, int64_t max_tokens) {
  const auto seconds_of = [&](const SearchStepOptions& changed) {
    return WorkOf(changed, size).after_calibration() * seconds_per_score;
  };
  const double seconds = seconds_of(options);
  // What the noise floor waits for a layer, a score of several plans waits for once.
  std::string text = fmt::format("the search takes {}about {} on this machine",
                                 size.is_streamed ? "at most " : "", RoughDuration(seconds));
  if (options.max_seconds > 0 && options.max_seconds < seconds)
    text += fmt::format("; --max-seconds ends it after {}", RoughDuration(options.max_seconds));
  if (seconds <= kLongSeconds) return text;
  SearchStepOptions shorter = options;
  shorter.search.generations = std::max(2, options.search.generations / 4);
  shorter.search.refinement_evaluations = 0;
  std::vector<std::string> ways = {
      ShorterText(fmt::format("--generations {} --no-refine", shorter.search.generations),
                  seconds_of(shorter))};
  if (max_tokens >= 4) {
    ways.push_back(ShorterText(fmt::format("--max-tokens {}", max_tokens / 4), seconds / 4));
  }
  if (options.max_seconds == 0) {
    ways.push_back(
        "--max-seconds 1800 stops the search after 30 min, and the same command goes on");
  }
  return fmt::format("{}; {}", text, fmt::join(ways, "; "));
}

}  // namespace kvtune
