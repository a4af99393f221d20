#include "tests/support/tiny_checkpoint.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/base/random.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr int kExperts = 4;

// Collects tensors and writes them as one safetensors file.
class Writer {
 public:
  explicit Writer(uint64_t seed) : random_(seed) {}

  // Adds a tensor of normal values with standard deviation `scale` around `mean`.
  void Add(const std::string& name, const std::vector<int64_t>& shape, double scale,
           double mean = 0) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    const size_t begin = data_.size();
    for (int64_t i = 0; i < count; ++i) {
      const double radius = std::sqrt(-2 * std::log(1 - random_.Unit()));
      const auto value =
          static_cast<float>(mean + scale * radius * std::cos(6.283185307179586 * random_.Unit()));
      data_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    header_[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data_.size()}}};
  }

  void Write(const fs::path& path) const {
    const std::string header = header_.dump();
    const uint64_t length = header.size();
    std::string content(reinterpret_cast<const char*>(&length), sizeof(length));
    WriteFileAtomically(path, content + header + data_);
  }

 private:
  Random random_;
  Json header_;
  std::string data_;
};

Json ConfigOf(const TinyModel& model) {
  Json config = {{"architectures", {model.architecture}},
                 {"hidden_act", "silu"},
                 {"hidden_size", model.hidden},
                 {"intermediate_size", model.intermediate},
                 {"num_attention_heads", model.query_heads},
                 {"num_key_value_heads", model.kv_heads},
                 {"num_hidden_layers", model.layers},
                 {"head_dim", model.head_dim},
                 {"vocab_size", model.vocab},
                 {"max_position_embeddings", model.context},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", 10000.0},
                 {"tie_word_embeddings", model.tied}};
  config["sliding_window"] = model.window > 0 ? Json(model.window) : Json();
  if (model.architecture == "Gemma2ForCausalLM") {
    config["hidden_activation"] = "gelu_pytorch_tanh";
    config["query_pre_attn_scalar"] = model.head_dim;
    config["attn_logit_softcapping"] = 2.0;
    config["final_logit_softcapping"] = 5.0;
  }
  if (model.architecture == "GptOssForCausalLM") {
    config["num_local_experts"] = kExperts;
    config["num_experts_per_tok"] = 2;
    config["rope_parameters"] = {{"rope_type", "default"}};
  }
  return config;
}

void AddAttention(const TinyModel& model, const std::string& prefix, double scale, Writer& writer) {
  const bool gpt_oss = model.architecture == "GptOssForCausalLM";
  for (const auto& [name, heads] :
       {std::pair("q", model.query_heads), {"k", model.kv_heads}, {"v", model.kv_heads}}) {
    const std::string projection = prefix + name + "_proj.";
    writer.Add(projection + "weight", {heads * model.head_dim, model.hidden}, scale);
    if (gpt_oss || model.architecture == "Qwen2ForCausalLM") {
      writer.Add(projection + "bias", {heads * model.head_dim}, 1.0);
    }
  }
  writer.Add(prefix + "o_proj.weight", {model.hidden, model.query_heads * model.head_dim}, scale);
  if (!gpt_oss) return;
  writer.Add(prefix + "o_proj.bias", {model.hidden}, 0.1);
  writer.Add(prefix + "sinks", {model.query_heads}, 2.0);
}

void AddMlp(const TinyModel& model, const std::string& prefix, double scale, Writer& writer) {
  if (model.architecture == "GptOssForCausalLM") {
    writer.Add(prefix + "router.weight", {kExperts, model.hidden}, scale);
    writer.Add(prefix + "router.bias", {kExperts}, 0.1);
    writer.Add(prefix + "experts.gate_up_proj", {kExperts, model.hidden, 2 * model.intermediate},
               scale);
    writer.Add(prefix + "experts.gate_up_proj_bias", {kExperts, 2 * model.intermediate}, 0.1);
    writer.Add(prefix + "experts.down_proj", {kExperts, model.intermediate, model.hidden}, scale);
    writer.Add(prefix + "experts.down_proj_bias", {kExperts, model.hidden}, 0.1);
    return;
  }
  writer.Add(prefix + "gate_proj.weight", {model.intermediate, model.hidden}, scale);
  writer.Add(prefix + "up_proj.weight", {model.intermediate, model.hidden}, scale);
  writer.Add(prefix + "down_proj.weight", {model.hidden, model.intermediate}, scale);
}

}  // namespace

void WriteTinyCheckpoint(const TinyModel& model, const fs::path& directory) {
  fs::create_directories(directory);
  WriteJsonFileAtomically(directory / "config.json", ConfigOf(model));
  Writer writer(model.seed);
  const double scale = 2.0 / std::sqrt(model.hidden);
  writer.Add("model.embed_tokens.weight", {model.vocab, model.hidden}, 1.0);
  for (int i = 0; i < model.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    writer.Add(layer + "input_layernorm.weight", {model.hidden}, 0.1, 1.0);
    AddAttention(model, layer + "self_attn.", scale, writer);
    writer.Add(layer + "post_attention_layernorm.weight", {model.hidden}, 0.1, 1.0);
    if (model.architecture == "Gemma2ForCausalLM") {
      writer.Add(layer + "pre_feedforward_layernorm.weight", {model.hidden}, 0.1);
      writer.Add(layer + "post_feedforward_layernorm.weight", {model.hidden}, 0.1);
    }
    AddMlp(model, layer + "mlp.", scale, writer);
  }
  writer.Add("model.norm.weight", {model.hidden}, 0.1, 1.0);
  if (!model.tied) writer.Add("lm_head.weight", {model.vocab, model.hidden}, scale);
  writer.Write(directory / "model.safetensors");
}

}  // namespace kvtune
