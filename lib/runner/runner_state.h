// The state of a model runner, and the passes of which its public methods consist.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "lib/core/measured_model.h"
#include "lib/core/model_options.h"
#include "lib/runner/decoder.h"
#include "lib/runner/layer_walk.h"
#include "lib/runner/score.h"
#include "lib/runner/sharing.h"

namespace kvtune {

// The exact model's result on one prompt. It is kept because every generation of plans is compared
// with it. Logits are not kept, because they are as wide as the vocabulary.
struct Reference {
  at::Tensor hidden;  // [tokens, hidden], after the final norm
  PromptScore score;  // score of the exact model against itself
};

struct RunnerState {
  // `cpu_threads` applies to a CPU only, because the operators of a GPU are parallel by themselves.
  RunnerState(const Checkpoint& checkpoint, const at::TensorOptions& tensor_options,
              const ModelOptions& model_options, Sharing shared, int cpu_threads);

  // Returns the settings with which a plan is run on this prompt.
  PlanPass PassOf(const TokenIds& prompt) const;
  // Returns the hidden states before the first layer: [1, tokens, hidden].
  at::Tensor Begin(const TokenIds& prompt) const;

  // Takes the exact model through all layers once. Calls end(prompt, hidden [1, tokens, hidden])
  // for every prompt.
  void RunExact(std::span<const TokenIds> prompts, const PlanPass& pass,
                const std::function<void(size_t, at::Tensor)>& end);
  // Runs the exact model on the prompts that ReferenceOf does not know yet.
  void LearnReferences(std::span<const TokenIds> prompts);
  // REQUIRES: LearnReferences was called with the prompt.
  const Reference& ReferenceOf(const TokenIds& prompt) const { return references.at(prompt); }
  // Returns the score of each variant of one prompt's final hidden states [variants, tokens,
  // hidden].
  std::vector<PromptScore> Score(const TokenIds& prompt, const at::Tensor& hidden) const;

  ModelOptions options;
  Sharing sharing;
  int threads;  // always 1 on a GPU
  Decoder decoder;
  LayerWalk walk;
  std::map<TokenIds, Reference> references;
  // How many plans are scored together at most. It falls when a GPU has no room for their hidden
  // states.
  size_t most_plans = std::numeric_limits<size_t>::max();

 private:
  int64_t MaxActivationBytes() const;
  // Throws Error, which names the layer, when the exact model's loss on a prompt is not a finite
  // number. REQUIRES: the prompt's pass is done.
  void RequireFinite(const TokenIds& prompt);
};

// Sets the threads and the arithmetic of the process, then loads the weights. Without `type` the
// device's usual type is taken. Throws Error.
std::unique_ptr<RunnerState> LoadRunner(const Checkpoint& checkpoint, const ModelOptions& options,
                                        std::optional<at::ScalarType> type, Sharing sharing);

}  // namespace kvtune
