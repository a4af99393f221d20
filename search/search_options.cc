#include "search/search_options.h"

#include <fmt/format.h>

#include <string>

#include "lib/base/error.h"

namespace kvtune {

void CheckSearchOptions(const SearchOptions& options) {
  const auto require = [](bool holds, const std::string& found_and_expected) {
    if (!holds) throw Error("searching: " + found_and_expected, ExitCode::kUsage);
  };
  require(options.population >= 1,
          fmt::format("found a population of {}, expected at least 1", options.population));
  require(options.generations >= 1,
          fmt::format("found {} generations, expected at least 1", options.generations));
  require(options.crossover_probability >= 0 && options.crossover_probability < 1,
          fmt::format("found the crossover probability {}, expected 0 <= p < 1",
                      options.crossover_probability));
  require(options.mutation_probability >= 0 && options.mutation_probability <= 1,
          fmt::format("found the mutation probability {}, expected 0 <= p <= 1",
                      options.mutation_probability));
  require(options.max_evaluations >= 0,
          fmt::format("found a limit of {} evaluations, expected 0 (none) or more",
                      options.max_evaluations));
  require(options.stall_generations >= 0,
          fmt::format("found {} generations without progress, expected 0 (no limit) or more",
                      options.stall_generations));
  require(!options.racing || (options.racing->confidence > 0.5 && options.racing->confidence < 1),
          fmt::format("found the confidence {} of racing, expected one between 0.5 and 1",
                      options.racing ? options.racing->confidence : 0));
  require(options.refinement_evaluations >= 0,
          fmt::format("found {} evaluations for the refinement, expected 0 (none) or more",
                      options.refinement_evaluations));
}

}  // namespace kvtune
