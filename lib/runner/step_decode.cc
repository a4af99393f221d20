#include "lib/runner/step_decode.h"

#include <algorithm>

#include "lib/runner/fake_quantize.h"

namespace kvtune {
namespace {

// One side of one layer's cache as an engine keeps it: the flushed tokens as they are read back,
// and the newest tokens, which wait until their group is full.
class StepCache {
 public:
  StepCache(const KvFormat& format, const LayerSide& side, int64_t window_tokens)
      : format_(format), side_(side), window_tokens_(window_tokens) {}

  // token: [kv_heads, 1, head_dim]
  void Append(const at::Tensor& token) {
    if (format_.residual_window_tokens == 0) {
      flushed_.push_back(FakeQuantize(token.contiguous(), format_, side_));
    } else {
      waiting_.push_back(token);
    }
    exact_.push_back(token);
  }

  // A full window is flushed once the token that filled it has attended.
  void Flush() {
    const auto window = static_cast<size_t>(format_.residual_window_tokens);
    if (window == 0 || waiting_.size() < window) return;
    flushed_.push_back(FakeQuantize(at::cat(waiting_, 1).contiguous(), format_, side_));
    waiting_.clear();
  }

  // Returns [kv_heads, tokens, head_dim] of the tokens that the layer's window still holds.
  at::Tensor Read() const {
    std::vector<at::Tensor> tokens = flushed_;
    tokens.insert(tokens.end(), waiting_.begin(), waiting_.end());
    return Newest(at::cat(tokens, 1));
  }
  at::Tensor ReadExact() const { return Newest(at::cat(exact_, 1)); }

 private:
  at::Tensor Newest(const at::Tensor& tokens) const {
    const int64_t held =
        window_tokens_ == 0 ? tokens.size(1) : std::min(window_tokens_, tokens.size(1));
    return tokens.narrow(1, tokens.size(1) - held, held);
  }

  const KvFormat& format_;
  LayerSide side_;
  int64_t window_tokens_;
  std::vector<at::Tensor> flushed_;
  std::vector<at::Tensor> waiting_;
  std::vector<at::Tensor> exact_;
};

}  // namespace

at::Tensor LogitsOfDecoding(const Decoder& decoder, const PrecisionPlan& plan,
                            const TokenIds& prompt, int64_t exact_queries) {
  const ModelConfig& config = decoder.config();
  const at::TensorOptions index_options =
      at::TensorOptions(at::kLong).device(decoder.options().device());
  std::vector<StepCache> keys, values;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const int64_t window = config.layers[layer].window_tokens;
    keys.emplace_back(FormatOf(plan.layers[layer].key), decoder.SideOfLayer(layer, KvSide::kKey),
                      window);
    values.emplace_back(FormatOf(plan.layers[layer].value),
                        decoder.SideOfLayer(layer, KvSide::kValue), window);
  }
  std::vector<at::Tensor> logits;
  for (size_t position = 0; position < prompt.size(); ++position) {
    at::Tensor hidden = decoder.Embed(at::full({1}, prompt[position], index_options));
    for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
      const LayerConfig& shape = config.layers[layer];
      const QueryKeyValue qkv = decoder.ProjectQueryKeyValue(
          layer, hidden.unsqueeze(0),
          {static_cast<int64_t>(position), static_cast<int64_t>(prompt.size())});
      keys[layer].Append(qkv.key.squeeze(0));
      values[layer].Append(qkv.value.squeeze(0));
      const bool exact = static_cast<int64_t>(position) < exact_queries;
      const at::Tensor key = exact ? keys[layer].ReadExact() : keys[layer].Read();
      const at::Tensor value = exact ? values[layer].ReadExact() : values[layer].Read();
      // [kv_heads, query heads that share it, head_dim]
      const at::Tensor query =
          qkv.query.view({shape.kv_heads, config.query_heads / shape.kv_heads, shape.key_head_dim});
      at::Tensor scores = at::matmul(query, key.transpose(1, 2));
      if (qkv.rule.soft_cap > 0) scores = at::tanh(scores / qkv.rule.soft_cap) * qkv.rule.soft_cap;
      if (qkv.rule.sinks.defined()) {
        scores = at::cat({scores, qkv.rule.sinks.view({shape.kv_heads, -1, 1})}, -1);
      }
      const at::Tensor weights = at::softmax(scores, -1).narrow(-1, 0, key.size(1));
      const at::Tensor attention =
          at::matmul(weights, value).view({1, config.query_heads * shape.value_head_dim});
      decoder.AddAttentionAndMlp(layer, hidden, attention);
      keys[layer].Flush();
      values[layer].Flush();
    }
    logits.push_back(decoder.Logits(decoder.FinalNorm(hidden)));
  }
  return at::cat(logits, 0);
}

}  // namespace kvtune
