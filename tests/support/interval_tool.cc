// Computes the program's own intervals for scripts/interval_coverage.py.
//
// The first line of standard input is {"numerators": [...], "denominators": [...]}, the population,
// or {"differences": [...], "weights": [...]} for the gate's intervals. Each further line lists the
// indices that were drawn from it, separated by blanks. Each gets a line of output: the two ends of
// the interval (lib/base/ratio_interval.h), or "none" where none is claimed.
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/ratio_interval.h"

namespace kvtune {
namespace {

void Run() {
  std::string line;
  std::getline(std::cin, line);
  const nlohmann::json population = nlohmann::json::parse(line);
  const bool of_differences = population.contains("differences");
  const auto above =
      population.at(of_differences ? "differences" : "numerators").get<std::vector<double>>();
  const auto below =
      population.at(of_differences ? "weights" : "denominators").get<std::vector<double>>();
  while (std::getline(std::cin, line)) {
    std::istringstream indices(line);
    std::vector<double> drawn_above, drawn_below;
    for (size_t index = 0; indices >> index;) {
      drawn_above.push_back(above.at(index));
      drawn_below.push_back(below.at(index));
    }
    const std::optional<Interval> interval =
        of_differences ? DifferenceInterval(drawn_above, drawn_below, 0.95)
                       : RatioInterval(drawn_above, drawn_below);
    if (interval) {
      std::printf("%.17g %.17g\n", interval->low, interval->high);
    } else {
      std::printf("none\n");
    }
  }
}

}  // namespace
}  // namespace kvtune

int main() {
  try {
    kvtune::Run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "interval_tool: %s\n", error.what());
    return 1;
  }
  return 0;
}
