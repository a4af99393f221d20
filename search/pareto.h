// Non-dominated plans under two objectives to be minimized.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace kvtune {

struct Objectives {
  double loss = 0;
  double bytes = 0;
};

// a is nowhere worse and somewhere better.
bool Dominates(const Objectives& a, const Objectives& b);

// Indices of the points that no other one dominates, by ascending bytes, then loss. Of equal points
// only the first is kept.
std::vector<size_t> NonDominated(std::span<const Objectives> points);

// Area between the front of `points` and the reference point; points beyond it count nothing.
double Hypervolume(std::span<const Objectives> points, const Objectives& reference);

// What `point` would add to the hypervolume of `front`. REQUIRES: front is non-dominated, by
// ascending bytes.
double HypervolumeGain(std::span<const Objectives> front, const Objectives& point,
                       const Objectives& reference);

}  // namespace kvtune
