#include "lib/core/model_size.h"

#include <algorithm>
#include <numeric>

namespace kvtune {
namespace {

int64_t MlpParameters(const ModelConfig& config, const LayerConfig& layer) {
  if (!layer.has_experts) {
    const int64_t inputs = config.has_gate() ? 2 : 1;
    const int64_t biases =
        config.mlp_bias ? inputs * config.intermediate_size + config.hidden_size : 0;
    return (inputs + 1) * config.hidden_size * config.intermediate_size + biases;
  }
  const ExpertConfig& experts = config.experts;
  const bool biased = experts.layout == ExpertLayout::kGptOss;
  const int64_t expert = 3 * config.hidden_size * experts.intermediate_size +
                         (biased ? 2 * experts.intermediate_size + config.hidden_size : 0);
  const int64_t router = config.hidden_size + (biased ? 1 : 0);
  const int64_t shared =
      experts.shared_intermediate_size > 0
          ? 3 * config.hidden_size * experts.shared_intermediate_size + config.hidden_size
          : 0;
  return experts.count * (expert + router) + shared;
}

// Returns the parameters of one norm of hidden states.
int64_t NormWidth(const ModelConfig& config) {
  return config.hidden_size * (config.norm_kind == NormKind::kLayerBiased ? 2 : 1);
}

int64_t NormsOfLayer(NormPlacement placement) {
  switch (placement) {
    case NormPlacement::kBefore:
    case NormPlacement::kAfter:
      return 2;
    case NormPlacement::kAround:
    case NormPlacement::kAroundGlm:
      return 4;
    case NormPlacement::kParallel:
      return 1;
  }
  return 2;
}

int64_t NormParameters(const ModelConfig& config, const LayerConfig& layer) {
  const int64_t norms = NormsOfLayer(config.norm_placement) * NormWidth(config);
  switch (config.query_key_norm) {
    case QueryKeyNorm::kNone:
      return norms;
    case QueryKeyNorm::kPerHead:
    case QueryKeyNorm::kPerHeadRotated:
      return norms + 2 * layer.key_head_dim;
    case QueryKeyNorm::kWholeWidth:
      return norms + config.query_heads * layer.key_head_dim + layer.kv_width(KvSide::kKey);
  }
  return norms;
}

int64_t AttentionParameters(const ModelConfig& config, const LayerConfig& layer) {
  const int64_t projected = config.query_heads * layer.key_head_dim + layer.kv_width(KvSide::kKey) +
                            layer.kv_width(KvSide::kValue);
  int64_t count = config.hidden_size * (projected + config.query_heads * layer.value_head_dim);
  if (config.query_key_value_bias) count += projected;
  if (config.output_bias) count += config.hidden_size;
  if (config.attention_sinks) count += config.query_heads;
  return count;
}

}  // namespace

int64_t ModelSize::parameters() const {
  return std::accumulate(layers.begin(), layers.end(), outside_layers);
}

int64_t ModelSize::streamed_parameters() const {
  int64_t largest = 0;  // parameters of two neighbouring layers
  for (size_t i = 0; i < layers.size(); ++i) {
    largest = std::max(largest, layers[i] + (i + 1 < layers.size() ? layers[i + 1] : 0));
  }
  return outside_layers + largest;
}

ModelSize SizeOf(const ModelConfig& config) {
  const int64_t embedding = config.vocab_size * config.hidden_size;
  ModelSize size{.outside_layers = embedding * (config.tied_embeddings ? 1 : 2) + NormWidth(config),
                 .layers = {}};
  for (const LayerConfig& layer : config.layers) {
    size.layers.push_back(AttentionParameters(config, layer) + MlpParameters(config, layer) +
                          NormParameters(config, layer));
  }
  return size;
}

int64_t ResidentLayerBytes(int64_t free_bytes) { return free_bytes / 3 * 2; }

WeightPlace PlaceOfWeights(const ModelSize& size, const DeviceDescription& device) {
  // The runner asks for the free memory when the first layer is already loaded
  // (lib/runner/weights), so that layer is taken off here too.
  const int64_t left =
      device.free_bytes - device.bytes_per_weight * (size.outside_layers + size.layers.front());
  const int64_t layers = device.bytes_per_weight * (size.parameters() - size.outside_layers);
  if (layers <= ResidentLayerBytes(left)) return WeightPlace::kResident;
  return device.bytes_per_weight * size.streamed_parameters() <= device.free_bytes
             ? WeightPlace::kStreamed
             : WeightPlace::kNowhere;
}

}  // namespace kvtune
