// How much a search has to do, counted before it is done, and how long that takes on this machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/core/search_summary.h"
#include "lib/run/run_options.h"

namespace kvtune {

// What scoring one plan on a prompt takes of the time that measuring the noise floor took there.
// The noise floor is two passes of the exact model, and plans that are scored together share
// layers. With 1 in its place a search of the demo model was announced as 2.4 times as long as it
// was on two cores, and one of Llama-3.1-8B's shape as 2.5 times on an H200.
inline constexpr double kScorePerNoiseFloor = 0.4;

// What decides how much there is to do.
struct SearchSize {
  size_t layers = 0;
  size_t pairs = 0;          // of the target, in this model
  size_t scouted_plans = 0;  // of a single quantized layer; 0: none are scored
  size_t prompts = 0;        // of the search
  size_t held_out_prompts = 0;
  // Of the tokens, the share on which single layers are scored (lib/run/scouting_prompts.h).
  double scouted_share = 0.25;
  int64_t space = 0;         // plans of the grouped space; 0: not known yet
  bool is_streamed = false;  // layers are read in every pass, which plans share
};

// In scores of one plan on one prompt. The number of distinct plans is a guess from searches so
// far: generations repeat plans.
struct SearchWork {
  double calibration = 0;
  double uniform_plans = 0;
  double scouting = 0;
  double grouped_search = 0;
  double refinement = 0;
  double held_out = 0;

  double after_calibration() const {
    return uniform_plans + scouting + grouped_search + refinement + held_out;
  }
  double total() const { return calibration + after_calibration(); }
};
SearchWork WorkOf(const SearchStepOptions& options, const SearchSize& size);

// The work that is left after a report of the search, of `work` in all.
double WorkLeftAfter(const GenerationReport& report, const SearchStepOptions& options,
                     const SearchWork& work);

// Says how long the search takes in all when a score takes `seconds_per_score`. Above half an hour
// the text names options that shorten it, and to what.
std::string DurationText(const SearchStepOptions& options, const SearchSize& size,
                         double seconds_per_score, int64_t max_tokens);

}  // namespace kvtune
