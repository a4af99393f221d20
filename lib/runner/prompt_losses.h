// What the hidden states of plans lose against the exact model's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/measured_model.h"
#include "lib/runner/decoder.h"
#include "lib/runner/sharing.h"

namespace kvtune {

// The final hidden states of a prompt and what they are compared with.
struct ScoredPrompt {
  at::Tensor hidden;     // [variants, tokens, hidden], before the final norm
  at::Tensor reference;  // [tokens, hidden], the exact model's, after it
  std::span<const int32_t> ids;
  int64_t first_position = 0;  // those before it are not scored
};

// Returns the score of each variant of each prompt against the exact model's: [prompt][variant].
// The caller has to fill in exact_nll_sum. All rows of the prompts go through the model's head
// together. REQUIRES: all prompts have as many variants.
std::vector<std::vector<PromptScore>> ScoreHidden(const Decoder& decoder,
                                                  std::span<const ScoredPrompt> prompts,
                                                  Sharing sharing, int threads);

}  // namespace kvtune
