// Finds plans that are not dominated under two objectives, both to be minimized.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace kvtune {

struct Objectives {
  double loss = 0;
  double bytes = 0;
};

// Whether a is worse than b in neither objective and better in at least one.
bool Dominates(const Objectives& a, const Objectives& b);

// Indices of the points that no other one dominates, by ascending bytes, then loss. Among equal
// points only the first is kept.
std::vector<size_t> NonDominated(std::span<const Objectives> points);

// The area between the front of `points` and the reference point. Points beyond the reference point
// add nothing.
double Hypervolume(std::span<const Objectives> points, const Objectives& reference);

// What `point` would add to the hypervolume of `front`. REQUIRES: front is non-dominated, by
// ascending bytes.
double HypervolumeGain(std::span<const Objectives> front, const Objectives& point,
                       const Objectives& reference);

}  // namespace kvtune
