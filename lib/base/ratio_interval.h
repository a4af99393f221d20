// Confidence intervals of a ratio of sums over independent draws, where a few draws may carry most
// of a sum.
//
// The mean loss per token of prompts is such a ratio (losses over tokens), and so are the losses of
// one plan over those of another on the same prompts. Prompts are the draws, because the tokens of
// one prompt are not independent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "lib/base/statistics.h"

namespace kvtune {

// With fewer draws no interval is claimed.
inline constexpr int64_t kFewestDraws = 8;
// An interval whose ends differ by a larger factor says nothing, and is not claimed either.
inline constexpr double kWidestInterval = 100;

// The logarithm of sum(numerators) / sum(denominators) and how it spreads. An interval has two
// parts. One is Student's t with the standard error of the logarithm (delta method). The other
// allows for draws of a kind that is too rare to be among the n seen: such a kind may make up 3/n
// of all draws (the rule of three), and is taken to exceed its share three times as far as the draw
// seen that exceeds it the most. What three such draws add to the ratio comes on top of the factor
// that the first part allows. The lower end is the upper end of the inverse ratio.
class LogRatio {
 public:
  // REQUIRES: as many numerators as denominators, at least two, none negative, and both sums are
  // positive.
  LogRatio(std::span<const double> numerators, std::span<const double> denominators);

  int64_t draws() const { return draws_; }
  double ratio() const;
  // Whether every draw has the same ratio, so that there is nothing to estimate.
  bool same_in_all() const { return deviation_ == 0; }

  // The interval of the ratio, whether or not it may be claimed.
  Interval IntervalAt(double confidence) const;
  // How far the ends of the interval are from the estimate, in logarithms and as numbers >= 0,
  // after `draws` draws like those seen.
  struct Reach {
    double below = 0;
    double above = 0;
  };
  Reach ReachAfter(int64_t draws, double confidence) const;

 private:
  // A draw's share in one sum and by how much its share in the other exceeds it, times the draws.
  struct Pull {
    double share = 0, excess = 0;
  };
  static double UnseenAfter(const Pull& pull, int64_t draws);

  int64_t draws_ = 0;
  double log_ratio_ = 0;
  double deviation_ = 0;  // of the logarithm, for one draw
  Pull up_, down_;        // the draws that pull hardest, down_ those of the inverse ratio
};

// The interval of sum(numerators) / sum(denominators), or nullopt where none is claimed: fewer than
// kFewestDraws draws, or ends more than kWidestInterval apart. Numerators that are all 0 have the
// interval [0, 0]. REQUIRES: as LogRatio, but numerators may all be 0 and there may be one draw.
std::optional<Interval> RatioInterval(std::span<const double> numerators,
                                      std::span<const double> denominators,
                                      double confidence = 0.95);

// The interval of sum(differences) / sum(weights), where differences may have either sign. It has
// the two parts of LogRatio's, without the logarithm: three draws of the kind that was not seen
// differ three times as much as the draw that differs the most in the direction of the end. So the
// interval reaches beyond 0 by what was seen there and by Student's t alone. It is always claimed.
// REQUIRES: at least two draws, and the weights are positive.
Interval DifferenceInterval(std::span<const double> differences, std::span<const double> weights,
                            double confidence);

// The number of draws, more than there are, after which an interval can be claimed if further draws
// are like those seen. 0 when one is claimed already. REQUIRES: as RatioInterval.
int64_t DrawsForInterval(std::span<const double> numerators, std::span<const double> denominators,
                         double confidence = 0.95);

// The fewest draws, more than `ratio` has, for which `enough` says true. `enough` must stay true
// once it is. nullopt when a million are not enough.
template <typename Enough>
std::optional<int64_t> FewestDraws(const LogRatio& ratio, const Enough& enough) {
  constexpr int64_t kMost = 1'000'000;
  int64_t low = ratio.draws(), high = low + 1;
  while (high < kMost && !enough(high)) {
    low = high;
    high *= 2;
  }
  if (!enough(high)) return std::nullopt;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace kvtune
