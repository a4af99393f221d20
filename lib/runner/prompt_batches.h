// Which prompts go through the layers together. This file is torch-free.
//
// The prompts of a batch are padded at their ends to the length of the longest. Attention is causal
// and the scales of every format are of one token, of a group of the residual window, which its own
// queries read exactly, or static. So nothing behind a prompt's own tokens reaches them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/token_ids.h"

namespace kvtune {

struct PromptBatch {
  std::vector<size_t> prompts;  // indices of the prompts, the longest first
  int64_t tokens = 0;           // of the longest
};

struct BatchedPrompt {
  int64_t tokens = 0;
  // Prompts of different kinds are never in one batch: layers treat them differently. The numbers
  // mean what the caller wants.
  std::array<int64_t, 3> kind = {};
};

// Returns batches of prompts of neighbouring lengths, the longest prompts first. With padding and
// all variants, each has at most `most_rows` rows of hidden states, of which at most an eighth are
// padding; a prompt that has more rows by itself is a batch of its own. Prompts of
// one length and kind are in as few batches as the rows allow, up to one batch that they share with
// longer ones. REQUIRES: no prompt is empty.
std::vector<PromptBatch> FormBatches(std::span<const BatchedPrompt> prompts, size_t variants,
                                     int64_t most_rows);

// The same where every prompt is a batch of its own.
std::vector<PromptBatch> EachAlone(std::span<const TokenIds> prompts);

}  // namespace kvtune
