// Takes many prompts through all layers: the outer loops of every kind of pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "lib/core/measured_model.h"
#include "lib/runner/decoder.h"
#include "lib/runner/layer_stream.h"

namespace kvtune {

// What a pass does with one prompt. Called for different prompts by different threads at once.
struct PromptSteps {
  // Hidden states before the first layer, [variants, tokens, hidden].
  std::function<at::Tensor(size_t prompt)> begin;
  // The same after `layer`; the number of variants may grow.
  std::function<at::Tensor(size_t prompt, size_t layer, at::Tensor hidden)> advance;
  // After the last layer.
  std::function<void(size_t prompt, at::Tensor hidden)> end;
};

class LayerWalk {
 public:
  // `max_activation_bytes`: hidden states to have in memory at a time, of all prompts together.
  LayerWalk(Decoder& decoder, int threads, int64_t max_activation_bytes)
      : decoder_(decoder),
        stream_(decoder),
        threads_(threads),
        max_activation_bytes_(max_activation_bytes) {}

  // Resident weights: prompt by prompt through all layers, one prompt a thread. Streamed weights:
  // layer by layer, all prompts through each before the next. A prompt's steps are the same either
  // way, and so are its numbers. `variants`: the most hidden states that a prompt has at a time.
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
