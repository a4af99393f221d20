#include "lib/tasks/python_random.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace kvtune {

// The constants below are those of mt19937ar.c (Matsumoto and Nishimura, 2002), from which CPython
// has its generator.

PythonRandom::PythonRandom(uint32_t seed) {
  InitializeWith(19650218);
  // The key is one word long, so that its only index is 0.
  size_t i = 1;
  const auto wrap = [&] {
    if (i < kWords) return;
    state_[0] = state_[kWords - 1];
    i = 1;
  };
  for (size_t step = 0; step < kWords; ++step) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525u)) + seed;
    ++i;
    wrap();
  }
  for (size_t step = 0; step + 1 < kWords; ++step) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941u)) -
                static_cast<uint32_t>(i);
    ++i;
    wrap();
  }
  state_[0] = 0x80000000u;
}

void PythonRandom::InitializeWith(uint32_t seed) {
  state_[0] = seed;
  for (size_t i = 1; i < kWords; ++i) {
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<uint32_t>(i);
  }
}

void PythonRandom::Refill() {
  constexpr size_t kShift = 397;
  constexpr uint32_t kUpper = 0x80000000u, kLower = 0x7fffffffu, kMatrix = 0x9908b0dfu;
  for (size_t i = 0; i < kWords; ++i) {
    const uint32_t mixed = (state_[i] & kUpper) | (state_[(i + 1) % kWords] & kLower);
    state_[i] = state_[(i + kShift) % kWords] ^ (mixed >> 1) ^ ((mixed & 1) != 0 ? kMatrix : 0);
  }
  next_ = 0;
}

uint32_t PythonRandom::Next() {
  if (next_ == kWords) Refill();
  uint32_t word = state_[next_++];
  word ^= word >> 11;
  word ^= (word << 7) & 0x9d2c5680u;
  word ^= (word << 15) & 0xefc60000u;
  return word ^ (word >> 18);
}

uint32_t PythonRandom::Below(uint32_t bound) {
  const int bits = std::bit_width(bound);
  while (true) {
    const uint32_t number = Next() >> (32 - bits);
    if (number < bound) return number;
  }
}

std::vector<size_t> PythonRandom::Sample(size_t population, size_t count) {
  // The size of a small set, plus that of a larger one: Python takes whichever of the two ways
  // needs less memory.
  size_t set_size = 21;
  if (count > 5) {
    size_t table = 1;
    while (table < 3 * count) table *= 4;
    set_size += table;
  }
  std::vector<size_t> drawn;
  if (population <= set_size) {
    std::vector<size_t> pool(population);
    std::iota(pool.begin(), pool.end(), size_t{0});
    for (size_t i = 0; i < count; ++i) {
      const size_t place = Below(static_cast<uint32_t>(population - i));
      drawn.push_back(pool[place]);
      pool[place] = pool[population - i - 1];
    }
    return drawn;
  }
  while (drawn.size() < count) {
    const size_t number = Below(static_cast<uint32_t>(population));
    if (std::ranges::find(drawn, number) == drawn.end()) drawn.push_back(number);
  }
  return drawn;
}

}  // namespace kvtune
