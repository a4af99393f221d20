#include "lib/runner/weights.h"

#include <utility>
#include <vector>

#include "lib/core/model_size.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/tensor_reader.h"

namespace kvtune {
namespace {

// Returns the bytes of the tensors that make up nearly all of a layer.
int64_t BytesOf(const LayerWeights& weights) {
  size_t bytes = 0;
  for (const at::Tensor* tensor : {&weights.qkv, &weights.output, &weights.gate_up, &weights.down})
    bytes += tensor->nbytes();
  return static_cast<int64_t>(bytes);
}

// Whether `count` layers like this one fit into memory beside what is already there.
bool Fit(const LayerWeights& layer, size_t count, const at::Device& device) {
  return BytesOf(layer) * static_cast<int64_t>(count) <= ResidentLayerBytes(FreeMemory(device));
}

// A head that is stored in the checkpoint is used even if the config says that head and embedding
// are tied, as transformers does.
void LoadEmbeddingAndHead(const Checkpoint& checkpoint, const TensorReader& reader,
                          ModelWeights& weights) {
  const ModelConfig& config = checkpoint.config();
  const std::vector<int64_t> shape = {config.vocab_size, config.hidden_size};
  const bool has_head = checkpoint.HasModule("lm_head");
  if (config.tied_embeddings && has_head && !checkpoint.HasModule("model.embed_tokens")) {
    weights.embedding = weights.head = reader.Read("lm_head.weight", shape);
    return;
  }
  weights.embedding = reader.Read("model.embed_tokens.weight", shape);
  weights.head = weights.embedding;
  if (config.tied_embeddings && !has_head) return;
  at::Tensor head = reader.Read("lm_head.weight", shape);
  // A head that equals the embedding shares its memory.
  if (!at::equal(head, weights.embedding)) weights.head = std::move(head);
}

}  // namespace

LayerWeights LoadLayer(const Checkpoint& checkpoint, const at::TensorOptions& options,
                       size_t index) {
  LayerWeights weights = LoadLayer(TensorReader(checkpoint, options), checkpoint.config(),
                                   static_cast<int64_t>(index));
  checkpoint.RequireUnchanged();
  return weights;
}

ModelWeights LoadWeights(const Checkpoint& checkpoint, const at::TensorOptions& options,
                         WeightMode mode) {
  const ModelConfig& config = checkpoint.config();
  const TensorReader reader(checkpoint, options);
  ModelWeights weights;
  LoadEmbeddingAndHead(checkpoint, reader, weights);
  weights.final_norm = LoadNorm(reader, config, "model.norm");
  checkpoint.RequireUnchanged();
  weights.layers.resize(config.layers.size());
  weights.streamed = mode == WeightMode::kStream;
  for (size_t i = 0; i < weights.layers.size() && !weights.streamed; ++i) {
    weights.layers[i] = LoadLayer(checkpoint, options, i);
    // The first layer shows how much memory a layer takes.
    if (i == 0 && mode == WeightMode::kAuto) {
      weights.streamed = !Fit(weights.layers[0], weights.layers.size(), options.device());
    }
  }
  if (weights.streamed) weights.layers.assign(weights.layers.size(), {});
  return weights;
}

}  // namespace kvtune
