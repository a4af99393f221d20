#include "lib/base/random.h"

namespace kvtune {

uint64_t Random::Below(uint64_t bound) {
  // Draws from the uneven tail of the range are rejected, which keeps the rest unbiased.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  while (true) {
    const uint64_t draw = engine_();
    if (draw < limit) return draw % bound;
  }
}

double Random::Unit() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }

uint64_t DeriveSeed(uint64_t seed, SeedPurpose purpose) {
  // SplitMix64 (Steele et al. 2014): neighbouring seeds and purposes give unrelated results.
  uint64_t z = seed + 0x9e3779b97f4a7c15u * (static_cast<uint64_t>(purpose) + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace kvtune
