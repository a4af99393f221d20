#include "search/pareto.h"

#include <algorithm>
#include <pagmo/utils/hypervolume.hpp>
#include <pagmo/utils/multi_objective.hpp>
#include <tuple>

namespace kvtune {
namespace {

// What `point` adds to the area of those members of `front` that take at most `milliseconds`.
//
// Computed directly, because the difference of two hypervolumes would take two sorts, and thousands
// of points are compared.
double AreaGain(std::span<const Objectives> front, const Objectives& point,
                const Objectives& reference, std::optional<double> milliseconds) {
  double gain = 0;
  double least = reference.loss;  // the smallest loss of the members with at most `from` bytes
  double from = point.bytes;
  const auto add_until = [&](double bytes) {
    const double to = std::min(bytes, reference.bytes);
    if (to <= from) return;
    gain += (to - from) * std::max(0.0, least - point.loss);
    from = to;
  };
  for (const Objectives& member : front) {
    if (member.milliseconds > milliseconds) continue;
    add_until(member.bytes);
    least = std::min(least, member.loss);
  }
  add_until(reference.bytes);
  return gain;
}

// Members of the front of three objectives are on the front of two only by chance, so they cannot
// be found by one pass over sorted points; fronts are small enough for comparing them all.
std::vector<size_t> NonDominatedInThree(std::span<const Objectives> points,
                                        const std::vector<size_t>& distinct) {
  std::vector<size_t> front;
  for (const size_t i : distinct) {
    // Whoever dominates a point stands before it, since it takes no more bytes and, at equal bytes,
    // has no more loss.
    const bool dominated = std::ranges::any_of(
        front, [&](size_t member) { return Dominates(points[member], points[i]); });
    if (!dominated) front.push_back(i);
  }
  return front;
}

}  // namespace

Objectives ObjectivesFor(double loss, const PlanCost& cost) {
  return {loss, cost.bytes_per_token, cost.latency_ms};
}

std::vector<double> ValuesOf(const Objectives& objectives) {
  std::vector<double> values = {objectives.loss, objectives.bytes};
  if (objectives.milliseconds) values.push_back(*objectives.milliseconds);
  return values;
}

bool Dominates(const Objectives& a, const Objectives& b) {
  return a.loss <= b.loss && a.bytes <= b.bytes && a.milliseconds <= b.milliseconds &&
         (a.loss < b.loss || a.bytes < b.bytes || a.milliseconds < b.milliseconds);
}

std::vector<size_t> NonDominated(std::span<const Objectives> points) {
  // Equal points do not dominate each other, so pagmo2 would keep them all. Therefore only the
  // first of them is passed on.
  std::vector<size_t> distinct(points.size());
  for (size_t i = 0; i < distinct.size(); ++i) distinct[i] = i;
  const auto order = [&](size_t i) {
    return std::tuple(points[i].bytes, points[i].loss, points[i].milliseconds);
  };
  std::sort(distinct.begin(), distinct.end(),
            [&](size_t a, size_t b) { return std::tuple(order(a), a) < std::tuple(order(b), b); });
  distinct.erase(std::unique(distinct.begin(), distinct.end(),
                             [&](size_t a, size_t b) { return order(a) == order(b); }),
                 distinct.end());
  if (distinct.empty()) return distinct;
  if (points[distinct.front()].milliseconds) return NonDominatedInThree(points, distinct);

  std::vector<pagmo::vector_double> values;
  for (const size_t i : distinct) values.push_back(ValuesOf(points[i]));
  std::vector<pagmo::pop_size_t> front = pagmo::non_dominated_front_2d(values);
  std::sort(front.begin(), front.end());  // brings the points back to ascending bytes
  std::vector<size_t> indices;
  for (const pagmo::pop_size_t i : front) indices.push_back(distinct[i]);
  return indices;
}

double Hypervolume(std::span<const Objectives> points, const Objectives& reference) {
  // pagmo2 refuses points beyond the reference point, and points level with it add nothing.
  std::vector<pagmo::vector_double> inside;
  for (const Objectives& point : points) {
    if (point.loss < reference.loss && point.bytes < reference.bytes &&
        (!reference.milliseconds || point.milliseconds < reference.milliseconds)) {
      inside.push_back(ValuesOf(point));
    }
  }
  if (inside.empty()) return 0;
  return pagmo::hypervolume(inside).compute(ValuesOf(reference));
}

// Of three objectives the volume is cut at the times of the members: between two of them the same
// members count, so that a slice is an area times a time.
double HypervolumeGain(std::span<const Objectives> front, const Objectives& point,
                       const Objectives& reference) {
  if (!reference.milliseconds) return AreaGain(front, point, reference, std::nullopt);
  const double from = *point.milliseconds, end = *reference.milliseconds;
  const bool is_covered = std::ranges::any_of(front, [&](const Objectives& member) {
    return member.loss <= point.loss && member.bytes <= point.bytes && *member.milliseconds <= from;
  });
  if (is_covered || from >= end) return 0;
  std::vector<double> cuts = {from, end};
  for (const Objectives& member : front) {
    if (*member.milliseconds > from && *member.milliseconds < end)
      cuts.push_back(*member.milliseconds);
  }
  std::ranges::sort(cuts);
  double gain = 0;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    if (cuts[i + 1] <= cuts[i]) continue;
    gain += (cuts[i + 1] - cuts[i]) * AreaGain(front, point, reference, cuts[i]);
  }
  return gain;
}

}  // namespace kvtune
