// The decoder stack without its attention, that is, everything that happens to each token on its
// own. One decoder serves all families: ModelConfig says what a model has, and a norm or bias that
// a model lacks is an undefined tensor.
//
// Rows of several sequences (the same prompt under several plans) go through a layer's weights in
// one pass, so that the weights are read from memory once.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "lib/core/cache_maxima.h"
#include "lib/kernels/row_kernels_cpu.h"
#include "lib/runner/attention.h"
#include "lib/runner/rotary.h"
#include "lib/runner/torch.h"
#include "lib/runner/weights.h"

namespace kvtune {

struct QueryKeyValue {
  at::Tensor query;  // [sequences, query_heads, tokens, key_head_dim], rotated and scaled
  at::Tensor key;    // [sequences, kv_heads, tokens, key_head_dim], rotated
  at::Tensor value;  // [sequences, kv_heads, tokens, value_head_dim]
  ScoreRule rule;    // the rule of the layer
};

// The newest token of each of several sequences, at its position in its sequence.
struct NewestTokens {
  std::vector<int64_t> positions;
  // By stage and ModelConfig::ropes: [sequences, rotary_dim / 2]
  std::vector<std::vector<RotaryTables>> angles;
};

// The layers may be split over several devices, the stages of a pipeline: hidden states are brought
// to a layer before it and home behind the last one. All else is on the first device, home.
class Decoder {
 public:
  // REQUIRES: checkpoint outlives the decoder.
  Decoder(const Checkpoint& checkpoint, const at::TensorOptions& options,
          WeightMode mode = WeightMode::kResident, const SplitChoice& split = {});

  const ModelConfig& config() const { return config_; }
  const at::TensorOptions& options() const { return options_; }

  const std::vector<at::Device>& stages() const { return weights_.stages.devices; }
  size_t StageOf(size_t layer) const { return weights_.stages.of_layer[layer]; }
  at::TensorOptions OptionsOf(size_t layer) const {
    return options_.device(stages()[StageOf(layer)]);
  }
  // Returns the hidden states behind the layer before this one on the device of this one: the same
  // tensor where both layers are of one stage.
  at::Tensor BroughtTo(size_t layer, at::Tensor hidden) const;
  // The same for those behind the last layer, on the device of options().
  at::Tensor BroughtHome(at::Tensor hidden) const;
  double key_bias_norm(size_t layer) const { return weights_.layers[layer].key_bias_norm; }

  // Whether weights are streamed. Then a layer has its weights only while a LayerStream keeps them
  // in place.
  bool streams() const { return weights_.streamed; }
  LayerWeights ReadLayer(size_t layer) const { return LoadLayer(checkpoint_, options_, layer); }
  void PlaceLayer(size_t layer, LayerWeights weights) {
    weights_.layers[layer] = std::move(weights);
  }

  // Sets what formats with calibrated scales need. It is empty until then.
  void SetCacheMaxima(std::vector<LayerMaxima> maxima) { cache_maxima_ = std::move(maxima); }
  LayerSide SideOfLayer(size_t layer, KvSide side) const {
    LayerSide described{.side = side, .gguf_rotary_neighbours = config_.gguf_rotary_neighbours};
    if (cache_maxima_.empty()) return described;
    described.head_maxima = cache_maxima_[layer].side(side);
    described.stored_scales = cache_maxima_[layer].stored_scales(side);
    return described;
  }

  // Returns the ids as a tensor on the decoder's device: [tokens] of int64.
  at::Tensor IdsOf(const std::vector<int32_t>& prompt) const;
  // ids: [rows] of int64 -> [rows, hidden]
  at::Tensor Embed(const at::Tensor& ids) const;
  // hidden: [sequences, tokens, hidden], the states of neighbouring tokens from positions.first on.
  QueryKeyValue ProjectQueryKeyValue(size_t layer, const at::Tensor& hidden,
                                     const Positions& positions) const;
  // Prepares a step of decoding in which sequence i continues with its token at positions[i].
  // `index` holds the positions as int64 on the decoder's device.
  NewestTokens NewestAt(std::vector<int64_t> positions, const at::Tensor& index) const;
  // The same for one token each of several sequences, hidden: [sequences, hidden]. They take the
  // place of the tokens of one sequence: [1, heads, sequences, head_dim].
  QueryKeyValue ProjectNewest(size_t layer, const at::Tensor& hidden,
                              const NewestTokens& tokens) const;
  // Adds the projected attention and then the output of the MLP to `hidden`, in place, or to the
  // rows `before` where these are given; `hidden` receives the sums then.
  // attention: [rows, query_heads * value_head_dim]; hidden, before: [rows, hidden]
  void AddAttentionAndMlp(size_t layer, at::Tensor& hidden, const at::Tensor& attention,
                          const at::Tensor& before = {}) const;
  // hidden: [rows, hidden] -> [rows, hidden]
  at::Tensor FinalNorm(const at::Tensor& hidden) const;
  // normed: the output of FinalNorm -> [rows, vocab]
  at::Tensor Logits(const at::Tensor& normed) const;

 private:
  // Returns x itself when the model has no such norm.
  at::Tensor Norm(const at::Tensor& x, const NormWeights& weights) const;
  // Returns the rotated queries or keys of a layer: [sequences, heads, tokens, head_dim]. By token,
  // a GPU puts all heads of a token side by side, as flash attention then does with its output.
  at::Tensor RotatedHeads(const at::Tensor& projected, const HeadLayout& layout,
                          const RotaryTables& angles, const at::Tensor& norm, double scale,
                          bool by_token) const;
  // The angles are those of the tokens of `hidden`: [sequences, tokens, hidden]. The queries do not
  // grow with their positions yet.
  QueryKeyValue Project(size_t layer, const at::Tensor& hidden, const RotaryTables& angles,
                        bool queries_by_token) const;
  // Adds the MLP of normed rows to `hidden`, in place.
  void AddMlp(size_t layer, const at::Tensor& normed, at::Tensor& hidden) const;
  // What comes before the last matrix product of an MLP without experts.
  at::Tensor Activations(size_t layer, const at::Tensor& rows) const;

  const Checkpoint& checkpoint_;
  std::vector<LayerMaxima> cache_maxima_;
  ModelConfig config_;
  at::TensorOptions options_;
  ModelWeights weights_;
  // By stage, then indexed like ModelConfig::ropes.
  std::vector<std::vector<std::unique_ptr<RotaryEmbedding>>> rotary_;
  // How many rows go through an MLP together. It is chosen so that the widest activation stays in
  // cache.
  int64_t row_chunk_;
};

}  // namespace kvtune
