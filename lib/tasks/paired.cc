#include "lib/tasks/paired.h"

#include <algorithm>
#include <cmath>

namespace kvtune {
namespace {

constexpr double kTwoSided95 = 1.959963984540054;  // normal quantile of 0.975
constexpr double kPower80 = 0.8416212335729143;    // normal quantile of 0.8
constexpr double kSignificant = 0.05;

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
  const int64_t flips = lost + gained;
  const auto n = static_cast<double>(flips);
  double tail = 0;
  for (int64_t k = 0; k <= std::min(lost, gained); ++k) {
    const auto x = static_cast<double>(k);
    tail += std::exp(std::lgamma(n + 1) - std::lgamma(x + 1) - std::lgamma(n - x + 1) -
                     n * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

Interval DifferenceInterval(const Flips& flips) {
  const double n = static_cast<double>(flips.items) + 2;
  const double lost = (static_cast<double>(flips.lost) + 0.5) / n;
  const double gained = (static_cast<double>(flips.gained) + 0.5) / n;
  const double difference = gained - lost;
  const double reach = kTwoSided95 * std::sqrt((lost + gained - difference * difference) / n);
  return {std::max(-1.0, difference - reach), std::min(1.0, difference + reach)};
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
