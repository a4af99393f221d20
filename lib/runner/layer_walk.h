// Takes many prompts through all layers. These are the outer loops of every kind of pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "lib/core/measured_model.h"
#include "lib/runner/decoder.h"
#include "lib/runner/layer_stream.h"
#include "lib/runner/prompt_batches.h"

namespace kvtune {

// Returns the hidden states before the first layer, at home: [prompts, tokens, hidden].
using BatchBegin = std::function<at::Tensor(const PromptBatch& batch)>;
// Returns the hidden states after `layer`, which are on its device before it. The number of
// variants may grow: [prompts * variants, tokens, hidden].
using BatchAdvance =
    std::function<at::Tensor(const PromptBatch& batch, size_t layer, at::Tensor hidden)>;
// Receives the hidden states after the last layer, at home.
using BatchEnd = std::function<void(const PromptBatch& batch, at::Tensor hidden)>;

// What a pass does with one batch of prompts. Different threads call these functions for different
// batches at once.
struct BatchSteps {
  BatchBegin begin;
  BatchAdvance advance;
  BatchEnd end;
};

class LayerWalk {
 public:
  // `max_activation_bytes` limits the hidden states that are in memory at a time, over all prompts.
  LayerWalk(Decoder& decoder, int threads, int64_t max_activation_bytes)
      : decoder_(decoder),
        stream_(decoder),
        threads_(threads),
        max_activation_bytes_(max_activation_bytes) {}

  // With resident weights, each batch goes through all layers by itself, one batch to a thread.
  // With streamed weights, all batches go through a layer before the next layer is loaded. A batch
  // goes through the same steps either way, so its numbers are the same. `variants` is the most
  // variants of hidden states that a prompt has at a time.
  void Run(std::span<const PromptBatch> batches, size_t variants, const BatchSteps& steps,
           const MeasuredModel::OnProgress& progress);

  // How many rows of hidden states a batch may have for as many batches as there are stages to be
  // in memory at a time.
  int64_t MostRowsOfABatch() const;

 private:
  int64_t BytesOfRow() const;
  int BatchesAtATime(size_t batches, int64_t largest_bytes) const;

  Decoder& decoder_;
  LayerStream stream_;
  int threads_;
  int64_t max_activation_bytes_;
};

}  // namespace kvtune
