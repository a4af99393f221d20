#include "lib/base/ratio_interval.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>
#include <vector>

namespace kvtune {
namespace {

// Three in n draws may be of a kind that was not seen, and that goes so many times as far as any
// that was.
constexpr double kUnseenDraws = 3;
constexpr double kTimesAsFar = 3;

double Sum(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double TwoSidedQuantile(int64_t draws, double confidence) {
  const boost::math::students_t distribution(static_cast<double>(draws - 1));
  return boost::math::quantile(distribution, (1 + confidence) / 2);
}

bool AllZero(std::span<const double> values) {
  return std::ranges::all_of(values, [](double value) { return value == 0; });
}

}  // namespace

LogRatio::LogRatio(std::span<const double> numerators, std::span<const double> denominators)
    : draws_(static_cast<int64_t>(numerators.size())) {
  const auto n = static_cast<double>(draws_);
  const double numerator = Sum(numerators), denominator = Sum(denominators);
  log_ratio_ = std::log(numerator / denominator);
  double squares = 0;
  for (size_t i = 0; i < numerators.size(); ++i) {
    const double above = n * numerators[i] / numerator, below = n * denominators[i] / denominator;
    const double excess = above - below;
    // What rounding alone makes of equal shares is no spread.
    if (std::abs(excess) > 1e-12 * n) squares += excess * excess;
    const Pull up{below, excess}, down{above, -excess};
    if (UnseenAfter(up, draws_) > UnseenAfter(up_, draws_)) up_ = up;
    if (UnseenAfter(down, draws_) > UnseenAfter(down_, draws_)) down_ = down;
  }
  deviation_ = std::sqrt(squares / (n - 1));
}

double LogRatio::ratio() const { return std::exp(log_ratio_); }

double LogRatio::UnseenAfter(const Pull& pull, int64_t draws) {
  const double weight = kUnseenDraws / static_cast<double>(draws);
  return weight * kTimesAsFar * pull.excess / (1 + weight * pull.share);
}

LogRatio::Reach LogRatio::ReachAfter(int64_t draws, double confidence) const {
  if (same_in_all()) return {};
  const double error =
      TwoSidedQuantile(draws, confidence) * deviation_ / std::sqrt(static_cast<double>(draws));
  // The logarithm of exp(error) + unseen, in a form that no large error overflows.
  const auto with_unseen = [&](const Pull& pull) {
    return error + std::log1p(UnseenAfter(pull, draws) * std::exp(-error));
  };
  return {with_unseen(down_), with_unseen(up_)};
}

Interval LogRatio::IntervalAt(double confidence) const {
  const Reach reach = ReachAfter(draws_, confidence);
  return {std::exp(log_ratio_ - reach.below), std::exp(log_ratio_ + reach.above)};
}

std::optional<Interval> RatioInterval(std::span<const double> numerators,
                                      std::span<const double> denominators, double confidence) {
  if (AllZero(numerators)) return Interval{0, 0};
  if (static_cast<int64_t>(numerators.size()) < kFewestDraws) return std::nullopt;
  const Interval interval = LogRatio(numerators, denominators).IntervalAt(confidence);
  if (interval.high > kWidestInterval * interval.low) return std::nullopt;
  return interval;
}

Interval DifferenceInterval(std::span<const double> differences, std::span<const double> weights,
                            double confidence) {
  const auto draws = static_cast<int64_t>(differences.size());
  const auto n = static_cast<double>(draws);
  const double total = Sum(differences), weight = Sum(weights);
  const double mean = total / weight;
  double squares = 0, low = mean, high = mean;
  for (size_t i = 0; i < differences.size(); ++i) {
    const double residual = n * (differences[i] - mean * weights[i]) / weight;
    squares += residual * residual;
    const double moved = (total + kUnseenDraws * kTimesAsFar * differences[i]) /
                         (weight + kUnseenDraws * weights[i]);
    low = std::min(low, moved);
    high = std::max(high, moved);
  }
  const double error = TwoSidedQuantile(draws, confidence) * std::sqrt(squares / (n * (n - 1)));
  return {low - error, high + error};
}

int64_t DrawsForInterval(std::span<const double> numerators, std::span<const double> denominators,
                         double confidence) {
  if (RatioInterval(numerators, denominators, confidence)) return 0;
  if (numerators.size() < 2) return kFewestDraws;
  const LogRatio ratio(numerators, denominators);
  const auto narrow = [&](int64_t draws) {
    const LogRatio::Reach reach = ratio.ReachAfter(draws, confidence);
    return draws >= kFewestDraws && reach.below + reach.above <= std::log(kWidestInterval);
  };
  return FewestDraws(ratio, narrow).value_or(kFewestDraws);
}

}  // namespace kvtune
