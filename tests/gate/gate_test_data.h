// Measurements by hand for the gate's tests.
#pragma once

#include <algorithm>
#include <vector>

#include "lib/gate/measurement.h"

namespace kvtune {

// Prompts of 10 scored tokens, all of whose tokens have the same KL: `kl[i]` in prompt i.
inline Measurement EvenMeasurement(const std::vector<float>& kl, double bytes_per_token = 100) {
  const std::vector<int64_t> tokens(kl.size(), 10);
  Measurement measured{.bytes_per_token = bytes_per_token, .prompts = {}};
  for (const float value : kl) {
    const double sum = 10 * static_cast<double>(value);
    const PromptScore score{.tokens = 10,
                            .kl_sum = sum,
                            .nll_sum = sum,
                            .top1_matches = 9,
                            .token_kl = std::vector<float>(10, value)};
    measured.prompts.push_back(WithTailOnly(score, TailLength(tokens)));
  }
  return measured;
}

// The same with answers to a task of which the first `right` are right, and the rest wrong.
inline Measurement AnsweredMeasurement(size_t items, size_t right) {
  Measurement measured = EvenMeasurement({0.1F, 0.1F, 0.1F, 0.1F, 0.1F});
  measured.answers.assign(items, 0);
  std::fill_n(measured.answers.begin(), right, 1);
  return measured;
}

}  // namespace kvtune
