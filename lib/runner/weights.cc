#include "lib/runner/weights.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/log.h"
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

// The stages of as many layers like this one, which is in memory already, as one device has no room
// for; nullopt where all devices together have none either.
std::optional<Stages> StagesWithRoom(const LayerWeights& layer, size_t count,
                                     const std::vector<at::Device>& devices) {
  std::vector<int64_t> room;
  for (const at::Device& device : devices) room.push_back(ResidentLayerBytes(FreeMemory(device)));
  room.front() += BytesOf(layer);
  std::optional<StageOfLayer> of_layer = SplitByRoom(count, BytesOf(layer), room);
  if (!of_layer) return std::nullopt;
  const size_t used = of_layer->back() + 1;
  return Stages{{devices.begin(), devices.begin() + static_cast<ptrdiff_t>(used)},
                std::move(*of_layer)};
}

std::string NamesOf(const std::vector<at::Device>& devices) {
  std::string names;
  for (const at::Device& device : devices) names += (names.empty() ? "" : ", ") + device.str();
  return names;
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
                         WeightMode mode, const SplitChoice& split) {
  const ModelConfig& config = checkpoint.config();
  const TensorReader reader(checkpoint, options);
  ModelWeights weights;
  LoadEmbeddingAndHead(checkpoint, reader, weights);
  weights.final_norm = LoadNorm(reader, config, "model.norm");
  checkpoint.RequireUnchanged();
  const size_t count = config.layers.size();
  weights.layers.resize(count);
  weights.streamed = mode == WeightMode::kStream;
  std::vector<at::Device> devices = {options.device()};
  devices.insert(devices.end(), split.further.begin(), split.further.end());
  const size_t asked_for = std::min(static_cast<size_t>(std::max(1, split.stages)), count);
  Stages& stages = weights.stages;
  stages = {{devices.begin(), devices.begin() + static_cast<ptrdiff_t>(asked_for)},
            SplitEvenly(count, asked_for)};
  for (size_t i = 0; i < count && !weights.streamed; ++i) {
    weights.layers[i] =
        LoadLayer(checkpoint, options.device(stages.devices[stages.of_layer[i]]), i);
    // The first layer shows how much memory a layer takes.
    if (i > 0 || mode != WeightMode::kAuto || asked_for > 1 ||
        Fit(weights.layers[0], count, options.device())) {
      continue;
    }
    std::optional<Stages> with_room;
    if (devices.size() > 1) with_room = StagesWithRoom(weights.layers[0], count, devices);
    weights.streamed = !with_room;
    if (with_room) stages = std::move(*with_room);
  }
  if (stages.devices.size() > 1) {
    LogInfo("the layers are split over " + NamesOf(stages.devices));
  }
  if (weights.streamed) weights.layers.assign(weights.layers.size(), {});
  return weights;
}

}  // namespace kvtune
