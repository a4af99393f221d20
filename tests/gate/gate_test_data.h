// Measurements by hand for the gate's tests.
#pragma once

#include <vector>

#include "lib/gate/measurement.h"

namespace kvtune {

// Prompts of 10 scored tokens, all of whose tokens have the same KL: `kl[i]` in prompt i.
inline Measurement EvenMeasurement(const std::vector<float>& kl, double bytes_per_token = 100) {
  const std::vector<int64_t> tokens(kl.size(), 10);
  Measurement measured{.bytes_per_token = bytes_per_token, .prompts = {}};
  for (const float value : kl) {
    const std::vector<float> token_kl(10, value);
    measured.prompts.push_back(
        MeasurePrompt(token_kl, 10 * static_cast<double>(value), 9, TailLength(tokens)));
  }
  return measured;
}

}  // namespace kvtune
