// Takes many prompts through all layers. These are the outer loops of every kind of pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "lib/core/measured_model.h"
#include "lib/runner/decoder.h"
#include "lib/runner/layer_stream.h"

namespace kvtune {

// What a pass does with one prompt. Different threads call these functions for different prompts at
// once.
struct PromptSteps {
  // Returns the hidden states before the first layer, at home: [variants, tokens, hidden].
  std::function<at::Tensor(size_t prompt)> begin;
  // Returns the hidden states after `layer`, which are on its device before it. The number of
  // variants may grow.
  std::function<at::Tensor(size_t prompt, size_t layer, at::Tensor hidden)> advance;
  // Receives the hidden states after the last layer, at home.
  std::function<void(size_t prompt, at::Tensor hidden)> end;
};

class LayerWalk {
 public:
  // `max_activation_bytes` limits the hidden states that are in memory at a time, over all prompts.
  LayerWalk(Decoder& decoder, int threads, int64_t max_activation_bytes)
      : decoder_(decoder),
        stream_(decoder),
        threads_(threads),
        max_activation_bytes_(max_activation_bytes) {}

  // With resident weights, each prompt goes through all layers by itself, one prompt to a thread.
  // With streamed weights, all prompts go through a layer before the next layer is loaded. A prompt
  // goes through the same steps either way, so its numbers are the same. `variants` is the most
  // variants of hidden states that a prompt has at a time.
  void Run(std::span<const TokenIds> prompts, size_t variants, const PromptSteps& steps,
           const MeasuredModel::OnProgress& progress);

 private:
  int PromptsAtATime(size_t prompts, int64_t largest_bytes) const;

  Decoder& decoder_;
  LayerStream stream_;
  int threads_;
  int64_t max_activation_bytes_;
};

}  // namespace kvtune
