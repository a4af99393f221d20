// The exact front of a multiple-choice knapsack: one choice an item, sizes and losses add up.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvtune {

struct KnapsackChoice {
  double bytes = 0;  // rounded to 1/1024 byte; may be negative
  double loss = 0;
};

// For every undominated selection, by ascending bytes, the index of the choice of every item.
//
// Partial selections of the first items are extended by one item at a time, and dominated ones are
// dropped, which is safe because both sums grow alike for every extension. With S distinct sizes
// (481 for 80 equal layers of 8, 4 and 2 bits), L items and P choices: O(L P S log(P S)) time and
// O(L S) memory. Partial fronts of over 16384 members are thinned to the best in each 16384th of
// their range, which is then the resolution. REQUIRES: every item has a choice.
std::vector<std::vector<size_t>> KnapsackFront(std::span<const std::vector<KnapsackChoice>> items);

}  // namespace kvtune
