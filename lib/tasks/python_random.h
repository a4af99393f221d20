// The random numbers of Python's `random` module, to the letter.
//
// lm-evaluation-harness draws the few-shot examples of an item with random.Random(1234), so a score
// can be compared with a published one only if the same examples are drawn here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvtune {

class PythonRandom {
 public:
  // random.Random(seed): a Mersenne Twister seeded by init_by_array (CPython,
  // Modules/_randommodule.c), which std::mt19937 cannot be.
  explicit PythonRandom(uint32_t seed);

  // Random._randbelow: uniform in [0, bound). REQUIRES: bound > 0.
  uint32_t Below(uint32_t bound);

  // Random.sample(range(population), count): distinct numbers in the order in which they are drawn
  // (CPython, Lib/random.py). REQUIRES: count <= population.
  std::vector<size_t> Sample(size_t population, size_t count);

 private:
  static constexpr size_t kWords = 624;

  void InitializeWith(uint32_t seed);
  uint32_t Next();
  void Refill();

  std::array<uint32_t, kWords> state_;
  size_t next_ = kWords;
};

}  // namespace kvtune
