// Finds plans that are not dominated under two objectives or three, all to be minimized: loss,
// bytes and, in a search by time too, milliseconds.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "lib/core/pareto_front.h"

namespace kvtune {

// All points of a search have milliseconds, or none has.
struct Objectives {
  double loss = 0;
  double bytes = 0;
  std::optional<double> milliseconds = std::nullopt;
};

// The objectives of a plan that loses and costs so much, with a time where the cost has one.
Objectives ObjectivesFor(double loss, const PlanCost& cost);

// The values in the order of the fields, two or three: what pagmo2 reads.
std::vector<double> ValuesOf(const Objectives& objectives);

// Whether a is worse than b in no objective and better in at least one.
bool Dominates(const Objectives& a, const Objectives& b);

// Indices of the points that no other one dominates, by ascending bytes, then loss, then time.
// Among equal points only the first is kept.
std::vector<size_t> NonDominated(std::span<const Objectives> points);

// The area between the front of `points` and the reference point, or the volume where there are
// three objectives. Points beyond the reference point add nothing.
double Hypervolume(std::span<const Objectives> points, const Objectives& reference);

// What `point` would add to the hypervolume of `front`. REQUIRES: front is non-dominated, by
// ascending bytes.
double HypervolumeGain(std::span<const Objectives> front, const Objectives& point,
                       const Objectives& reference);

}  // namespace kvtune
