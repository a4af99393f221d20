// What a model runner holds, and the passes that its public methods are made of.
#pragma once

#include <functional>
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

// The exact model on one prompt, kept because every generation of plans is compared with it. Logits
// are not kept: they are a vocabulary wide.
struct Reference {
  at::Tensor hidden;  // [tokens, hidden], after the final norm
  PromptScore score;  // against itself
};

struct RunnerState {
  // `threads`: CPU threads; a GPU's operators are parallel by themselves.
  RunnerState(const Checkpoint& checkpoint, const at::TensorOptions& tensor_options,
              const ModelOptions& model_options, Sharing shared, int cpu_threads);

  // How a plan sees this prompt.
  PlanPass PassOf(const TokenIds& prompt) const;
  // Hidden states before the first layer, [1, tokens, hidden].
  at::Tensor Begin(const TokenIds& prompt) const;

  // One walk of the exact model; end(prompt, hidden [1, tokens, hidden]) is called for every
  // prompt.
  void RunExact(std::span<const TokenIds> prompts, const PlanPass& pass,
                const std::function<void(size_t, at::Tensor)>& end);
  // Makes sure that ReferenceOf knows these prompts.
  void LearnReferences(std::span<const TokenIds> prompts);
  // REQUIRES: the prompt was learned.
  const Reference& ReferenceOf(const TokenIds& prompt) const { return references.at(prompt); }
  // Scores of each variant of one prompt's final hidden states [variants, tokens, hidden].
  std::vector<PromptScore> Score(const TokenIds& prompt, const at::Tensor& hidden) const;

  ModelOptions options;
  Sharing sharing;
  int threads;  // 1 on a GPU
  Decoder decoder;
  LayerWalk walk;
  std::map<TokenIds, Reference> references;

 private:
  int64_t MaxActivationBytes() const;
};

// Sets the process's threads and arithmetic, then loads the weights. `type` undefined: the device's
// usual one. Throws Error.
std::unique_ptr<RunnerState> LoadRunner(const Checkpoint& checkpoint, const ModelOptions& options,
                                        std::optional<at::ScalarType> type, Sharing sharing);

}  // namespace kvtune
