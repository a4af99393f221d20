#include "lib/kernels/lloyd_max.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <utility>

namespace kvtune {
namespace {

// The mean of a normal distribution around 0 within [low, high], or `otherwise` when hardly any of
// the distribution lies there.
double MeanBetween(double low, double high, double variance, double otherwise) {
  constexpr int kSteps = 200;
  const double step = (high - low) / kSteps;
  const double factor = 1.0 / std::sqrt(2 * std::numbers::pi * variance);
  const auto density = [&](double x) { return factor * std::exp(-x * x / (2 * variance)); };
  double mass = 0.5 * (density(low) + density(high));
  double moment = 0.5 * (low * density(low) + high * density(high));
  for (int i = 1; i < kSteps; ++i) {
    const double x = low + i * step;
    const double weight = density(x);
    mass += weight;
    moment += x * weight;
  }
  mass *= step;
  moment *= step;
  return mass > 1e-15 ? moment / mass : otherwise;
}

std::vector<float> Solve(int64_t head_dim, int bits) {
  constexpr int kMostIterations = 200;
  constexpr double kSettled = 1e-10;
  const size_t count = size_t{1} << bits;
  const double variance = 1.0 / static_cast<double>(head_dim);
  // vLLM starts from equal steps over 3.5 standard deviations, and integrates the outermost levels
  // up to three times as far. Its levels depend on both.
  const double high = 3.5 * std::sqrt(variance), low = -high;
  std::vector<double> levels;
  for (size_t i = 0; i < count; ++i) {
    levels.push_back(low +
                     (high - low) * (static_cast<double>(i) + 0.5) / static_cast<double>(count));
  }
  for (int iteration = 0; iteration < kMostIterations; ++iteration) {
    std::vector<double> next;
    double largest_step = 0;
    for (size_t i = 0; i < count; ++i) {
      const double begin = i == 0 ? 3 * low : (levels[i - 1] + levels[i]) / 2;
      const double end = i + 1 == count ? 3 * high : (levels[i] + levels[i + 1]) / 2;
      next.push_back(MeanBetween(begin, end, variance, levels[i]));
      largest_step = std::max(largest_step, std::abs(next[i] - levels[i]));
    }
    if (largest_step < kSettled) break;
    levels = std::move(next);
  }
  return {levels.begin(), levels.end()};
}

}  // namespace

const std::vector<float>& LloydMaxLevels(int64_t head_dim, int bits) {
  static std::mutex mutex;
  static std::map<std::pair<int64_t, int>, std::vector<float>> known;
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = known.try_emplace({head_dim, bits});
  if (is_new) entry->second = Solve(head_dim, bits);
  return entry->second;
}

}  // namespace kvtune
