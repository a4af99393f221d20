// The state of a model runner, and the passes of which its public methods consist.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lib/core/measured_model.h"
#include "lib/core/model_options.h"
#include "lib/runner/decoder.h"
#include "lib/runner/layer_walk.h"
#include "lib/runner/plan_pass.h"
#include "lib/runner/prompt_losses.h"
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

  // Returns the settings with which a plan is run on this prompt. They are the same for all prompts
  // of a batch.
  PlanPass PassOf(const TokenIds& prompt) const;
  // Returns the hidden states before the first layer: [prompts, tokens, hidden].
  at::Tensor Begin(std::span<const TokenIds> prompts, const PromptBatch& batch) const;

  // Takes the prompts through all layers, as many at a time as a batch may have, from Begin on.
  // `variants` is the most variants of hidden states that a prompt has at a time. A device without
  // room for several prompts at a time takes half as many from then on; then all begin anew.
  void RunTogether(std::span<const TokenIds> prompts, size_t variants, const BatchAdvance& advance,
                   const BatchEnd& end, const MeasuredModel::OnProgress& progress);
  // The same for the exact model: `end` receives [prompts, tokens, hidden].
  void RunExact(std::span<const TokenIds> prompts, PlanPass pass, const BatchEnd& end);
  // Runs the exact model on the prompts that ReferenceOf does not know yet.
  void LearnReferences(std::span<const TokenIds> prompts);
  // REQUIRES: LearnReferences was called with the prompt.
  const Reference& ReferenceOf(const TokenIds& prompt) const { return references.at(prompt); }
  // Returns the score of each variant of the final hidden states of a batch, in its order:
  // [prompts * variants, tokens, hidden] -> [prompt][variant].
  std::vector<std::vector<PromptScore>> Score(std::span<const TokenIds> prompts,
                                              const PromptBatch& batch,
                                              const at::Tensor& hidden) const;

  ModelOptions options;
  Sharing sharing;
  int threads;  // always 1 on a GPU
  Decoder decoder;
  LayerWalk walk;
  std::map<TokenIds, Reference> references;
  // How many plans are scored together at most. It falls when a GPU has no room for their hidden
  // states.
  size_t most_plans = std::numeric_limits<size_t>::max();
  // How many rows of hidden states a batch of several prompts has at most; 0: every prompt is run
  // alone. It falls as most_plans does.
  int64_t batch_rows;
  // PlanPass::piece_rows of all passes.
  std::optional<int64_t> piece_rows = std::nullopt;

 private:
  int64_t MaxActivationBytes() const;
  std::vector<PromptBatch> BatchesOf(std::span<const TokenIds> prompts, size_t variants) const;
  // Throws Error, which names the layer, when the exact model's loss on a prompt is not a finite
  // number. REQUIRES: the prompt's pass is done.
  void RequireFinite(const TokenIds& prompt);
};

// Sets the threads and the arithmetic of the process, then loads the weights. Without `type` the
// device's usual type is taken. Throws Error.
std::unique_ptr<RunnerState> LoadRunner(const Checkpoint& checkpoint, const ModelOptions& options,
                                        std::optional<at::ScalarType> type, Sharing sharing);

}  // namespace kvtune
