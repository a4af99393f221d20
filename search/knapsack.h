// The exact front of a multiple-choice knapsack: one choice is made for each item, and the sizes
// and losses of the choices add up.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvtune {

struct KnapsackChoice {
  double bytes = 0;  // rounded to 1/1024 byte; may be negative
  double loss = 0;
};

// Returns every undominated selection, by ascending bytes. A selection holds, for every item, the
// index of its choice.
//
// Partial selections of the first items are extended by one item at a time, and dominated ones are
// dropped. That is safe because an extension adds the same bytes and the same loss to every partial
// selection, so a dominated one stays dominated. With S distinct sizes (481 for 80 equal layers of
// 8, 4 and 2 bits), L items and P choices: O(L P S log(P S)) time and O(L S) memory. Partial fronts
// of over 16384 members are thinned to the best member in each 16384th of their range of bytes, and
// the result is exact to that resolution only. REQUIRES: every item has a choice.
std::vector<std::vector<size_t>> KnapsackFront(std::span<const std::vector<KnapsackChoice>> items);

}  // namespace kvtune
