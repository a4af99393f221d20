// Seeded randomness that gives the same numbers on every machine and standard library.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <utility>

namespace kvtune {

// A Mersenne Twister with a bounded draw of our own, because std::uniform_int_distribution and
// std::shuffle are free to differ between standard libraries.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  // Draws uniformly from [0, bound). REQUIRES: bound > 0.
  uint64_t Below(uint64_t bound);
  // Draws uniformly from [0, 1).
  double Unit();

  template <typename T>
  void Shuffle(std::span<T> items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Below(i)]);
  }

 private:
  std::mt19937_64 engine_;
};

// Everything that draws random numbers. A new purpose gets a new number, so that old results stay
// as they are.
enum class SeedPurpose : uint64_t {
  kPromptShuffle = 1,
  kFirstGeneration = 2,
  kNsga2 = 3,
  kBootstrap = 4,
  kItemSplit = 5
};

// Gives each purpose an independent seed, so that a new draw in one stage shifts no draw of
// another.
uint64_t DeriveSeed(uint64_t seed, SeedPurpose purpose);

}  // namespace kvtune
