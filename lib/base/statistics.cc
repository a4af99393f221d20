#include "lib/base/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kvtune {

double Mean(std::span<const double> values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Quantile(std::vector<double>& values, double q) {
  const double position = q * static_cast<double>(values.size() - 1);
  const auto lower = static_cast<size_t>(std::floor(position));
  const auto at_lower = values.begin() + static_cast<ptrdiff_t>(lower);
  std::nth_element(values.begin(), at_lower, values.end());
  const double low_value = *at_lower;
  const double fraction = position - static_cast<double>(lower);
  if (fraction == 0) return low_value;
  // nth_element has put all larger values behind the lower one, so that the next one in order is
  // their minimum. This is cheaper than to sort everything.
  const double high_value = *std::min_element(at_lower + 1, values.end());
  return low_value + fraction * (high_value - low_value);
}

}  // namespace kvtune
