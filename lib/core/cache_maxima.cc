#include "lib/core/cache_maxima.h"

#include <algorithm>

namespace kvtune {

float LargestOf(std::span<const float> head_maxima) {
  return *std::max_element(head_maxima.begin(), head_maxima.end());
}

std::vector<float> CalibratedScales(const KvFormat& format, std::span<const float> head_maxima) {
  return std::vector<float>(head_maxima.size(), CalibratedScale(format, LargestOf(head_maxima)));
}

}  // namespace kvtune
