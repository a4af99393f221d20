// What a run is made from: the model and its prompts, and where its files go. The command line
// binds its options to these fields, so every default stands in one place, here or in the options
// of a stage.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "lib/calib/prompt_set.h"
#include "lib/core/cache_maxima.h"
#include "lib/core/model_options.h"
#include "lib/core/provenance.h"
#include "lib/run/search_latency.h"
#include "search/search.h"

namespace kvtune {

// The model, what it is run on and how; the same in every command that runs the model.
struct RunInputs {
  std::filesystem::path model;  // checkpoint directory
  std::string target = "kvtuner";
  PromptOptions prompts;
  uint64_t seed = 0;       // the seed of every random choice
  int64_t context = 8192;  // tokens at which bytes are counted
  CacheScales scales = CacheScales::kCalibrated;
  // The pairs that are searched. Plans that are only scored may have any pair.
  KernelChoice kernels = KernelChoice::kAll;
  ModelOptions running;
  std::string devices =
      {};  // of this host that share the work: "2", "0,2", "all"; empty: one process
};

// A run directory and the prompts that are kept out of the search.
struct RunPlace {
  std::filesystem::path out;  // empty: ./kvtune-<model name>-<target>
  std::string held_out;       // a file, "none", or empty: chosen by the prompts (run_prompts.h)
};

// What a search minimizes beside bytes.
enum class SearchBy {
  kLoss,      // the loss of lib/core/objective.h on the calibration prompts
  kAccuracy,  // wrong answers to items of a task
};
inline constexpr Word<SearchBy> kSearchByWords[] = {{"kl", SearchBy::kLoss},
                                                    {"accuracy", SearchBy::kAccuracy}};

// The search stage as a user asks for it.
struct SearchStepOptions {
  SearchOptions search;
  SearchBy by = SearchBy::kLoss;
  int64_t search_items = 0;             // of the task; kAccuracy only, see SplitItems
  std::optional<uint64_t> search_seed;  // nullopt: the run's seed
  double max_seconds = 0;               // 0: no limit
  std::filesystem::path known_scores;   // empty: none
  LatencyOptions by_time;
  // The times that by_time asks for; nullopt where it asks for none.
  std::optional<SearchLatency> latency = std::nullopt;
};

}  // namespace kvtune
