// Means, quantiles and bootstrap intervals of plain doubles.
#pragma once

#include <cstdint>
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

struct BootstrapOptions {
  int resamples = 2000;
  double confidence = 0.95;
  uint64_t seed = 0;
};

// Percentile bootstrap of a ratio of sums, sum(numerators) / sum(denominators), over resampled
// indices. This is the interval of a mean per token where prompts, not tokens, are the independent
// draws. REQUIRES: both spans have the same size, which is not 0.
Interval BootstrapRatioInterval(std::span<const double> numerators,
                                std::span<const double> denominators,
                                const BootstrapOptions& options);

}  // namespace kvtune
