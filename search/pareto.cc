#include "search/pareto.h"

#include <algorithm>
#include <pagmo/utils/hypervolume.hpp>
#include <pagmo/utils/multi_objective.hpp>
#include <tuple>

namespace kvtune {

bool Dominates(const Objectives& a, const Objectives& b) {
  return a.loss <= b.loss && a.bytes <= b.bytes && (a.loss < b.loss || a.bytes < b.bytes);
}

std::vector<size_t> NonDominated(std::span<const Objectives> points) {
  // Equal points do not dominate each other, so pagmo2 would keep them all. Therefore only the
  // first of them is passed on.
  std::vector<size_t> distinct(points.size());
  for (size_t i = 0; i < distinct.size(); ++i) distinct[i] = i;
  const auto order = [&](size_t i) { return std::tuple(points[i].bytes, points[i].loss); };
  std::sort(distinct.begin(), distinct.end(),
            [&](size_t a, size_t b) { return std::tuple(order(a), a) < std::tuple(order(b), b); });
  distinct.erase(std::unique(distinct.begin(), distinct.end(),
                             [&](size_t a, size_t b) { return order(a) == order(b); }),
                 distinct.end());
  if (distinct.empty()) return distinct;

  std::vector<pagmo::vector_double> values;
  for (const size_t i : distinct) values.push_back({points[i].loss, points[i].bytes});
  std::vector<pagmo::pop_size_t> front = pagmo::non_dominated_front_2d(values);
  std::sort(front.begin(), front.end());  // brings the points back to ascending bytes
  std::vector<size_t> indices;
  for (const pagmo::pop_size_t i : front) indices.push_back(distinct[i]);
  return indices;
}

double Hypervolume(std::span<const Objectives> points, const Objectives& reference) {
  // pagmo2 refuses points beyond the reference point, and points level with it add no area.
  std::vector<pagmo::vector_double> inside;
  for (const Objectives& point : points) {
    if (point.loss < reference.loss && point.bytes < reference.bytes) {
      inside.push_back({point.loss, point.bytes});
    }
  }
  if (inside.empty()) return 0;
  return pagmo::hypervolume(inside).compute({reference.loss, reference.bytes});
}

// Computed directly, because the difference of two hypervolumes would take two sorts, and thousands
// of points are compared.
double HypervolumeGain(std::span<const Objectives> front, const Objectives& point,
                       const Objectives& reference) {
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
    add_until(member.bytes);
    least = std::min(least, member.loss);
  }
  add_until(reference.bytes);
  return gain;
}

}  // namespace kvtune
