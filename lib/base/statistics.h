// Means and quantiles of plain doubles.
#pragma once

#include <span>
#include <vector>

namespace kvtune {

// The mean of an empty span is 0.
double Mean(std::span<const double> values);

// The q-quantile by linear interpolation between order statistics (NumPy's default).
// REQUIRES: values is not empty, 0 <= q <= 1. Reorders its argument.
double Quantile(std::vector<double>& values, double q);

struct Interval {
  double low = 0;
  double high = 0;
  friend bool operator==(const Interval&, const Interval&) = default;
};

}  // namespace kvtune
