#include "search/surrogate.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kvtune {
namespace {

size_t PairIndex(const LayerLosses& losses, PrecisionPair pair) {
  return static_cast<size_t>(std::find(losses.pairs.begin(), losses.pairs.end(), pair) -
                             losses.pairs.begin());
}

// The fit over flat coordinates, layer * pairs + pair.
//
// There are more losses to fit than scored plans, so the scores alone do not determine them; the
// prior decides what the scores leave open. One coordinate is changed at a time, since a step then
// affects only the plans that have that pair in that layer. A step is halved until the sum falls.
class Fit {
 public:
  Fit(const LayerLosses& prior, std::span<const PrecisionPlan> plans,
      std::span<const double> losses)
      : prior_(prior), plans_of_(prior.layer_count() * prior.pairs.size()) {
    for (const std::vector<double>& layer : prior.losses) {
      for (const double loss : layer) log_prior_.push_back(std::log(loss));
    }
    log_x_ = log_prior_;
    for (size_t i = 0; i < plans.size(); ++i) {
      if (losses[i] > 0) AddPlan(plans[i], losses[i]);
    }
  }

  LayerLosses Solve() {
    constexpr int kMaxSweeps = 100;
    constexpr double kSettled = 1e-3;  // the largest step of a sweep, in ln, at which the fit ends
    for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
      // The sums are computed anew in every sweep, because steps add to them and subtract from
      // them, and the rounding of large losses would remain in sums that have become small.
      for (size_t plan = 0; plan < terms_.size(); ++plan) predicted_[plan] = Sum(terms_[plan]);
      double largest_step = 0;
      for (size_t i = 0; i < log_x_.size(); ++i) {
        largest_step = std::max(largest_step, std::abs(Improve(i)));
      }
      if (largest_step < kSettled) break;
    }
    LayerLosses fitted = prior_;
    size_t i = 0;
    for (std::vector<double>& layer : fitted.losses) {
      for (double& loss : layer) loss = std::exp(log_x_[i++]);
    }
    return fitted;
  }

 private:
  // Weighs the prior against the misfit of one plan, whose ln is off by about 0.3 in a good fit.
  // With this weight, isolated losses are trusted to a factor of about e.
  static constexpr double kLambda = 0.1;

  void AddPlan(const PrecisionPlan& plan, double loss) {
    std::vector<size_t> terms;
    for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
      if (plan.layers[layer].is_exact()) continue;
      terms.push_back(layer * prior_.pairs.size() + PairIndex(prior_, plan.layers[layer]));
      plans_of_[terms.back()].push_back(terms_.size());
    }
    terms_.push_back(std::move(terms));
    target_.push_back(std::max(loss, kSmallestLayerLoss));
    predicted_.push_back(0);
  }

  double Sum(const std::vector<size_t>& terms) const {
    double sum = 0;
    for (const size_t i : terms) sum += std::exp(log_x_[i]);
    return sum;
  }

  // The part of the minimized sum that depends on x_i, after x_i changed by `delta`.
  double Objective(size_t i, double log_x, double delta) const {
    const double drift = log_x - log_prior_[i];
    double objective = kLambda * drift * drift;
    for (const size_t plan : plans_of_[i]) {
      const double residual = std::log((predicted_[plan] + delta) / target_[plan]);
      objective += residual * residual;
    }
    return objective;
  }

  // Makes one step in ln x_i and returns it.
  double Improve(size_t i) {
    if (plans_of_[i].empty()) return 0;
    const double x = std::exp(log_x_[i]);
    double slope = kLambda * (log_x_[i] - log_prior_[i]);
    double curvature = kLambda;
    for (const size_t plan : plans_of_[i]) {
      const double share = x / predicted_[plan];
      slope += share * std::log(predicted_[plan] / target_[plan]);
      curvature += share * share;
    }
    double step = std::clamp(-slope / curvature, -1.0, 1.0);
    const double before = Objective(i, log_x_[i], 0);
    constexpr int kMaxHalvings = 6;
    for (int halving = 0; halving <= kMaxHalvings; ++halving, step /= 2) {
      const double delta = std::exp(log_x_[i] + step) - x;
      if (Objective(i, log_x_[i] + step, delta) >= before) continue;
      log_x_[i] += step;
      for (const size_t plan : plans_of_[i]) predicted_[plan] += delta;
      return step;
    }
    return 0;
  }

  const LayerLosses& prior_;
  std::vector<double> log_prior_, log_x_;
  std::vector<std::vector<size_t>> plans_of_;  // the plans that have a coordinate
  std::vector<std::vector<size_t>> terms_;     // the coordinates of a plan
  std::vector<double> target_, predicted_;     // of every plan, nats per token
};

}  // namespace

double PredictLoss(const LayerLosses& losses, const PrecisionPlan& plan) {
  double sum = 0;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    if (plan.layers[layer].is_exact()) continue;
    sum += losses.losses[layer][PairIndex(losses, plan.layers[layer])];
  }
  return sum;
}

LayerLosses FitLayerLosses(const LayerLosses& prior, std::span<const PrecisionPlan> plans,
                           std::span<const double> losses) {
  return Fit(prior, plans, losses).Solve();
}

LayerLosses WithExactPair(LayerLosses losses) {
  if (losses.empty() || std::ranges::count(losses.pairs, kExactPair) > 0) return losses;
  losses.pairs.insert(losses.pairs.begin(), kExactPair);
  for (std::vector<double>& layer : losses.losses) layer.insert(layer.begin(), kSmallestLayerLoss);
  return losses;
}

}  // namespace kvtune
