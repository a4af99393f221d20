#include "lib/tasks/paired.h"

#include <algorithm>
#include <cmath>

namespace kvtune {
namespace {

constexpr double kTwoSided95 = 1.959963984540054;  // normal quantile of 0.975
constexpr double kPower80 = 0.8416212335729143;    // normal quantile of 0.8
constexpr double kSignificant = 0.05;

// Where a rising function passes 0 between two points, to the last bit.
template <typename Function>
double Root(const Function& rising, double low, double high) {
  for (double middle = low + (high - low) / 2; low < middle && middle < high;
       middle = low + (high - low) / 2) {
    (rising(middle) < 0 ? low : high) = middle;
  }
  return high;
}

// The quantile of the normal distribution that leaves (1 - confidence) / 2 on either side.
double TwoSided(double confidence) {
  const double tail = (1 - confidence) / 2;
  return Root([tail](double z) { return tail - std::erfc(z / std::sqrt(2.0)) / 2; }, 0, 40);
}

// The probability of at most `most` of n draws with probability p, 0 < p < 1.
double BinomialCdf(int64_t most, int64_t draws, double p) {
  const auto n = static_cast<double>(draws);
  double sum = 0;
  for (int64_t k = 0; k <= most; ++k) {
    const auto x = static_cast<double>(k);
    sum += std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) +
                    x * std::log(p) + (n - x) * std::log1p(-p));
  }
  return sum;
}

// The exact interval of a probability of which `hits` of n draws were seen.
Interval ProbabilityInterval(int64_t hits, int64_t draws, double confidence) {
  const double tail = (1 - confidence) / 2;
  // The more probable a hit, the rarer are so few of them, and the more common so many.
  const auto high = [&](double p) { return tail - BinomialCdf(hits, draws, p); };
  const auto low = [&](double p) { return 1 - BinomialCdf(hits - 1, draws, p) - tail; };
  return {hits == 0 ? 0.0 : Root(low, 0, 1), hits == draws ? 1.0 : Root(high, 0, 1)};
}

}  // namespace

double StandardError(std::span<const double> scores) {
  const auto n = static_cast<double>(scores.size());
  if (scores.size() < 2) return 0;
  const double mean = Mean(scores);
  double squares = 0;
  for (const double score : scores) squares += (score - mean) * (score - mean);
  return std::sqrt(squares / (n - 1)) / std::sqrt(n);
}

Flips CountFlips(std::span<const char> reference, std::span<const char> plan) {
  Flips flips{.items = static_cast<int64_t>(reference.size())};
  for (size_t i = 0; i < reference.size(); ++i) {
    flips.lost += reference[i] != 0 && plan[i] == 0;
    flips.gained += reference[i] == 0 && plan[i] != 0;
  }
  return flips;
}

double McNemarP(int64_t lost, int64_t gained) {
  return std::min(1.0, 2 * BinomialCdf(std::min(lost, gained), lost + gained, 0.5));
}

Interval DifferenceInterval(const Flips& flips, double confidence) {
  const double n = static_cast<double>(flips.items) + 2;
  const double lost = (static_cast<double>(flips.lost) + 0.5) / n;
  const double gained = (static_cast<double>(flips.gained) + 0.5) / n;
  const double difference = gained - lost;
  const double reach =
      TwoSided(confidence) * std::sqrt((lost + gained - difference * difference) / n);
  return {std::max(-1.0, difference - reach), std::min(1.0, difference + reach)};
}

Interval CautiousDifferenceInterval(const Flips& flips, double confidence) {
  const int64_t flipped = flips.lost + flips.gained;
  if (flipped == 0) return {0, 0};
  const Interval share = ProbabilityInterval(flips.gained, flipped, confidence);
  const double scale = static_cast<double>(flipped) / static_cast<double>(flips.items);
  const Interval approximate = DifferenceInterval(flips, confidence);
  return {std::min(approximate.low, scale * (2 * share.low - 1)),
          std::max(approximate.high, scale * (2 * share.high - 1))};
}

int64_t FewestItems(double confidence) {
  int64_t items = 1;
  while (McNemarP(items, 0) >= 1 - confidence) ++items;
  return items;
}

int64_t ItemsToSee(double difference, double discordant) {
  // Plans that differ by so much disagree on at least as many items.
  const double share = std::clamp(discordant, difference, 1.0);
  const double root =
      kTwoSided95 * std::sqrt(share) + kPower80 * std::sqrt(share - difference * difference);
  return static_cast<int64_t>(std::ceil(root * root / (difference * difference)));
}

std::optional<int64_t> ItemsToDecide(const Flips& flips) {
  if (flips.lost == flips.gained || McNemarP(flips.lost, flips.gained) < kSignificant)
    return std::nullopt;
  const auto items = static_cast<double>(flips.items);
  return ItemsToSee(static_cast<double>(std::abs(flips.lost - flips.gained)) / items,
                    static_cast<double>(flips.lost + flips.gained) / items);
}

}  // namespace kvtune
