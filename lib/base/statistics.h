// Means, quantiles and bootstrap intervals over plain doubles.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvtune {

// 0 for an empty span.
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
// indices: the mean per token when prompts, not tokens, are the independent draws.
// REQUIRES: equal, non-zero sizes.
Interval BootstrapRatioInterval(std::span<const double> numerators,
                                std::span<const double> denominators,
                                const BootstrapOptions& options);

}  // namespace kvtune
