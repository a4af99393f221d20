#include "lib/tasks/paired.h"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <functional>

namespace kvtune {
namespace {

constexpr double kTwoSided95 = 1.959963984540054;  // normal quantile of 0.975
constexpr double kPower80 = 0.8416212335729143;    // normal quantile of 0.8
constexpr double kSignificant = 0.05;

// The quantile of the normal distribution that leaves (1 - confidence) / 2 on either side.
double TwoSided(double confidence) {
  const boost::math::normal distribution;
  return boost::math::quantile(boost::math::complement(distribution, (1 - confidence) / 2));
}

// The exact interval of a probability of which `hits` of n draws were seen.
Interval ProbabilityInterval(int64_t hits, int64_t draws, double confidence) {
  using boost::math::binomial;
  const auto seen = static_cast<double>(hits), n = static_cast<double>(draws);
  const double tail = (1 - confidence) / 2;
  return {binomial::find_lower_bound_on_p(n, seen, tail),
          binomial::find_upper_bound_on_p(n, seen, tail)};
}

// `score` makes comparable what a reference and a plan have of an item.
template <typename T, typename Score>
Flips CountFlipsOf(std::span<const T> reference, std::span<const T> plan, const Score& score) {
  Flips flips{.items = static_cast<int64_t>(reference.size())};
  for (size_t i = 0; i < reference.size(); ++i) {
    flips.lost += score(plan[i]) < score(reference[i]);
    flips.gained += score(plan[i]) > score(reference[i]);
  }
  return flips;
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
  return CountFlipsOf(reference, plan, [](char verdict) { return verdict != 0; });
}

Flips CountFlips(std::span<const double> reference, std::span<const double> plan) {
  return CountFlipsOf(reference, plan, std::identity());
}

double McNemarP(int64_t lost, int64_t gained) {
  const boost::math::binomial of_chance(static_cast<double>(lost + gained), 0.5);
  const auto fewer = static_cast<double>(std::min(lost, gained));
  return std::min(1.0, 2 * boost::math::cdf(of_chance, fewer));
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

Interval ScoreDifferenceInterval(std::span<const double> reference, std::span<const double> plan,
                                 double confidence) {
  const auto is_verdict = [](double score) { return score == 0 || score == 1; };
  if (std::ranges::all_of(reference, is_verdict) && std::ranges::all_of(plan, is_verdict)) {
    const Flips flips = CountFlips(reference, plan);
    return flips.lost + flips.gained > 0 ? CautiousDifferenceInterval(flips, confidence)
                                         : DifferenceInterval(flips, confidence);
  }
  if (reference.size() < 2) return {-1, 1};
  std::vector<double> differences;
  for (size_t i = 0; i < reference.size(); ++i) differences.push_back(plan[i] - reference[i]);
  const boost::math::students_t distribution(static_cast<double>(reference.size() - 1));
  const double mean = Mean(differences);
  const double reach = StandardError(differences) * boost::math::quantile(boost::math::complement(
                                                        distribution, (1 - confidence) / 2));
  return {std::max(-1.0, mean - reach), std::min(1.0, mean + reach)};
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
