// The front as a picture of characters: loss against size.
#pragma once

#include <cstddef>
#include <string>

#include "lib/core/pareto_front.h"

namespace kvtune {

// What is to the right.
enum class PlotAxis { kBytes, kMilliseconds };

struct PlotOptions {
  size_t width = 80;   // columns in all
  size_t height = 20;  // rows of the picture, without axes
  bool unicode = true;
  PlotAxis axis = PlotAxis::kBytes;
};

// A point for every plan: bytes per token or milliseconds to the right, log10 of the loss upwards.
// Plans of the front are filled points, uniform ones hollow and named where there is room. The
// losses are those of ComparableScores (lib/core/objective.h). Throws Error (kUsage) for
// milliseconds where the plans have none. REQUIRES: the front has a plan or a uniform one.
std::string FrontPlot(const ParetoFront& front, const PlotOptions& options);

}  // namespace kvtune
