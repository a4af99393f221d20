#include "lib/core/cache_maxima.h"

#include <algorithm>

namespace kvtune {

float LargestOf(std::span<const float> head_maxima) {
  return *std::max_element(head_maxima.begin(), head_maxima.end());
}

std::vector<float> CalibratedScales(const KvFormat& format, KvSide side,
                                    std::span<const float> head_maxima) {
  const float largest = LargestOf(head_maxima);
  std::vector<float> scales;
  for (const float maximum : head_maxima) {
    const bool is_per_head = format.layout(side).axis == QuantAxis::kPerHead;
    scales.push_back(CalibratedScale(format, is_per_head ? maximum : largest));
  }
  return scales;
}

}  // namespace kvtune
