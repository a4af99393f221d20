#include "lib/core/model_config.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/core/model_families.h"

namespace kvtune {
namespace {

const Family& ReadFamily(JsonFields& fields) {
  const std::vector<std::string> architectures = fields.Strings("architectures");
  if (architectures.size() == 1) {
    if (const Family* family = FindFamily(architectures[0])) return *family;
    if (const std::string_view reason = ReasonOfRefusal(architectures[0]); !reason.empty()) {
      fields.Fail("architectures",
                  fmt::format("found {}, which kvtune does not run: {}", architectures[0], reason));
    }
  }
  const std::string found =
      architectures.empty() ? "none" : fmt::format("{}", fmt::join(architectures, ", "));
  fields.Fail("architectures", fmt::format("found {}, expected one of {}", found, FamilyNames()));
}

int64_t PositiveInteger(JsonFields& fields, std::string_view key) {
  const int64_t value = fields.Integer(key);
  if (value <= 0) fields.Fail(key, fmt::format("found {}, expected a positive integer", value));
  return value;
}

int64_t PositiveIntegerOr(JsonFields& fields, std::string_view key, int64_t fallback) {
  return fields.Has(key) ? PositiveInteger(fields, key) : fallback;
}

bool BoolOr(JsonFields& fields, std::string_view key, bool fallback) {
  return fields.Has(key) ? fields.Bool(key) : fallback;
}

// Has() is false for both, yet null says "none" where an absent key says "as the family has it".
bool IsNull(const JsonFields& fields, std::string_view key) {
  const std::vector<std::string> keys = fields.Keys();
  return std::ranges::count(keys, key) > 0 && !fields.Has(key);
}

double SoftCap(JsonFields& fields, std::string_view key, double fallback) {
  if (IsNull(fields, key)) return 0;
  const double cap = fields.Has(key) ? fields.Number(key) : fallback;
  if (!(cap >= 0)) fields.Fail(key, fmt::format("found {}, expected a positive number", cap));
  return cap;
}

Activation ReadActivation(JsonFields& fields, const Family& family) {
  if (family.activation) return *family.activation;
  // Gemma's newer field says what its older one leaves open.
  const std::string_view key = fields.Has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const std::string activation = fields.String(key);
  if (activation == "silu") return Activation::kSilu;
  if (activation == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  fields.Fail(key,
              fmt::format("found \"{}\", expected \"silu\" or \"gelu_pytorch_tanh\"", activation));
}

// Tokens of a sliding window; 0: none, or one that the context never fills.
int64_t ReadWindow(JsonFields& fields, const Family& family, int64_t context) {
  constexpr std::string_view kKey = "sliding_window";
  if (family.windows == WindowRule::kNever || IsNull(fields, kKey)) return 0;
  if (!fields.Has(kKey) && !family.default_window) return 0;
  const int64_t window = PositiveIntegerOr(fields, kKey, family.default_window.value_or(0));
  return window < context ? window : 0;
}

// One entry a layer: whether config.json's layer_types calls it sliding. Empty without the field.
std::vector<bool> ReadLayerTypes(JsonFields& fields, size_t layer_count) {
  constexpr std::string_view kKey = "layer_types";
  std::vector<bool> sliding;
  if (!fields.Has(kKey)) return sliding;
  for (const std::string& type : fields.Strings(kKey)) {
    if (type != "full_attention" && type != "sliding_attention") {
      fields.Fail(kKey, fmt::format("found \"{}\", expected \"full_attention\" or "
                                    "\"sliding_attention\"",
                                    type));
    }
    sliding.push_back(type == "sliding_attention");
  }
  if (sliding.size() != layer_count) {
    fields.Fail(kKey, fmt::format("found {} entries, expected {}, one a layer", sliding.size(),
                                  layer_count));
  }
  return sliding;
}

// Which layers have the window. Where a family has no layer_types, transformers ignores them.
std::vector<bool> ReadSlidingLayers(JsonFields& fields, const Family& family,
                                    const std::vector<LayerConfig>& layers) {
  std::vector<bool> sliding(layers.size(), false);
  const bool asked = BoolOr(fields, "use_sliding_window", false);
  const auto by_layer_types = [&](const auto& rule) {
    const std::vector<bool> types = ReadLayerTypes(fields, layers.size());
    if (!types.empty()) return types;
    for (size_t i = 0; i < layers.size(); ++i) sliding[i] = rule(static_cast<int64_t>(i));
    return sliding;
  };
  switch (family.windows) {
    case WindowRule::kNever:
      return sliding;
    case WindowRule::kEveryLayer:
      return std::vector<bool>(layers.size(), true);
    case WindowRule::kEveryLayerIfAsked:
      return std::vector<bool>(layers.size(), asked);
    case WindowRule::kFromLayerIfAsked: {
      if (!asked) return sliding;
      constexpr std::string_view kFirst = "max_window_layers";
      const int64_t first = fields.Has(kFirst) ? fields.Integer(kFirst) : 28;
      return by_layer_types([&](int64_t layer) { return layer >= first; });
    }
    case WindowRule::kUnrotatedIfAsked:
      if (!asked) return sliding;
      return by_layer_types(
          [&](int64_t layer) { return !layers[static_cast<size_t>(layer)].rope; });
    case WindowRule::kAllButEveryNth: {
      const int64_t period =
          PositiveIntegerOr(fields, "sliding_window_pattern", family.window_period);
      return by_layer_types([&](int64_t layer) { return (layer + 1) % period != 0; });
    }
  }
  return sliding;
}

void ReadUnrotatedLayers(JsonFields& fields, std::vector<LayerConfig>& layers) {
  constexpr std::string_view kKey = "no_rope_layers";
  std::vector<int64_t> rotated;
  if (fields.Has(kKey)) {
    rotated = fields.Integers(kKey);
    if (rotated.size() != layers.size()) {
      fields.Fail(kKey, fmt::format("found {} entries, expected {}, one a layer", rotated.size(),
                                    layers.size()));
    }
  } else {
    const int64_t interval = PositiveIntegerOr(fields, "no_rope_layer_interval", 4);
    for (size_t i = 0; i < layers.size(); ++i) {
      rotated.push_back((static_cast<int64_t>(i) + 1) % interval != 0);
    }
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (rotated[i] == 0) layers[i].rope.reset();
  }
}

void ReadRopes(JsonFields& fields, const Family& family, ModelConfig& model) {
  const RopeContext context{
      .default_theta = family.default_rope_theta,
      .head_dim = model.layers.front().key_head_dim,
      .max_position_embeddings = model.max_position_embeddings,
      .part = family.rotates_partially ? RotaryPart::kPartial : RotaryPart::kWhole};
  if (!family.has_local_rope) {
    model.ropes = {ReadRope(fields, context)};
    return;
  }
  const LayerTypeRopes ropes = ReadLayerTypeRopes(fields, context, family.default_local_rope_theta);
  model.ropes = {ropes.full, ropes.sliding};
}

void ReadExperts(JsonFields& fields, ExpertLayout layout, ModelConfig& model) {
  const std::string_view count_key =
      fields.Has("num_experts") ? "num_experts" : "num_local_experts";
  ExpertConfig& experts = model.experts;
  experts.layout = layout;
  experts.count = PositiveInteger(fields, count_key);
  experts.per_token = PositiveInteger(fields, "num_experts_per_tok");
  if (experts.per_token > experts.count) {
    fields.Fail("num_experts_per_tok", fmt::format("found {}, expected no more than the {} experts",
                                                   experts.per_token, experts.count));
  }
  int64_t sparse_step = 1;
  std::vector<int64_t> dense_layers;
  experts.intermediate_size = model.intermediate_size;
  if (layout == ExpertLayout::kQwen) {
    experts.intermediate_size = PositiveInteger(fields, "moe_intermediate_size");
    experts.renormalized = BoolOr(fields, "norm_topk_prob", false);
    sparse_step = PositiveIntegerOr(fields, "decoder_sparse_step", 1);
    if (fields.Has("mlp_only_layers")) dense_layers = fields.Integers("mlp_only_layers");
  }
  for (int64_t i = 0; i < model.layer_count(); ++i) {
    model.layers[static_cast<size_t>(i)].has_experts =
        (i + 1) % sparse_step == 0 && std::ranges::count(dense_layers, i) == 0;
  }
}

// Sizes and heads; layers that are all alike.
void ReadSizes(JsonFields& fields, ModelConfig& model) {
  const int64_t layer_count = PositiveInteger(fields, "num_hidden_layers");
  model.hidden_size = PositiveInteger(fields, "hidden_size");
  model.intermediate_size = PositiveInteger(fields, "intermediate_size");
  model.query_heads = PositiveInteger(fields, "num_attention_heads");
  const int64_t kv_heads = PositiveIntegerOr(fields, "num_key_value_heads", model.query_heads);
  if (!fields.Has("head_dim") && model.hidden_size % model.query_heads != 0) {
    fields.Fail("hidden_size",
                fmt::format("found {} for {} attention heads, expected a multiple, or head_dim",
                            model.hidden_size, model.query_heads));
  }
  const int64_t head_dim =
      PositiveIntegerOr(fields, "head_dim", model.hidden_size / model.query_heads);
  model.vocab_size = PositiveInteger(fields, "vocab_size");
  model.max_position_embeddings = PositiveInteger(fields, "max_position_embeddings");
  model.rms_norm_eps = fields.Number("rms_norm_eps");
  if (model.query_heads % kv_heads != 0) {
    fields.Fail("num_key_value_heads",
                fmt::format("found {} for {} attention heads, expected a divisor", kv_heads,
                            model.query_heads));
  }
  if (head_dim % 2 != 0) {
    fields.Fail("head_dim", fmt::format("found {}, expected a positive even number", head_dim));
  }
  const LayerConfig layer{
      .kv_heads = kv_heads, .key_head_dim = head_dim, .value_head_dim = head_dim};
  model.layers.assign(static_cast<size_t>(layer_count), layer);
}

void ReadLayers(JsonFields& fields, const Family& family, ModelConfig& model) {
  ReadRopes(fields, family, model);
  if (family.has_unrotated_layers) ReadUnrotatedLayers(fields, model.layers);
  const int64_t window = ReadWindow(fields, family, model.max_position_embeddings);
  const std::vector<bool> sliding = ReadSlidingLayers(fields, family, model.layers);
  for (size_t i = 0; i < model.layers.size(); ++i) {
    if (!sliding[i]) continue;
    model.layers[i].window_tokens = window;
    // By the layer's kind, whether or not the context ever fills its window.
    if (family.has_local_rope) model.layers[i].rope = 1;
  }
  if (family.experts) ReadExperts(fields, *family.experts, model);
}

void ReadScalesAndCaps(JsonFields& fields, const Family& family, ModelConfig& model) {
  auto scalar = static_cast<double>(model.layers.front().key_head_dim);
  constexpr std::string_view kKey = "query_pre_attn_scalar";
  if (family.has_query_scalar && fields.Has(kKey)) {
    scalar = fields.Number(kKey);
    if (!(scalar > 0)) {
      fields.Fail(kKey, fmt::format("found {}, expected a positive number", scalar));
    }
  }
  model.attention_scale = 1 / std::sqrt(scalar);
  if (family.has_soft_caps) {
    model.attention_soft_cap =
        SoftCap(fields, "attn_logit_softcapping", family.default_attention_soft_cap);
    model.logit_soft_cap =
        SoftCap(fields, "final_logit_softcapping", family.default_logit_soft_cap);
  }
  if (family.scales_embedding) {
    model.embedding_scale = std::sqrt(static_cast<double>(model.hidden_size));
  }
  model.attention_sinks = family.has_sinks;
}

void ReadBiases(JsonFields& fields, const Family& family, ModelConfig& model) {
  const bool of_config = family.bias == BiasRule::kOfConfig &&
                         BoolOr(fields, "attention_bias", family.biased_by_default);
  model.query_key_value_bias = family.bias == BiasRule::kQueryKeyValue || of_config;
  model.output_bias = of_config;
  model.mlp_bias = BoolOr(fields, "mlp_bias", false);
}

}  // namespace

ModelConfig ParseModelConfig(const Json& config, const std::string& source) {
  JsonFields fields(config, source);
  const Family& family = ReadFamily(fields);
  if (BoolOr(fields, "use_bidirectional_attention", false)) {
    fields.Fail("use_bidirectional_attention", "found true, expected a causal decoder");
  }
  ModelConfig model;
  model.architecture = family.architecture;
  ReadSizes(fields, model);
  ReadLayers(fields, family, model);
  ReadScalesAndCaps(fields, family, model);
  ReadBiases(fields, family, model);
  model.activation = ReadActivation(fields, family);
  model.norm_placement = family.norms;
  model.norms_add_one = family.norms_add_one;
  model.query_key_norm = family.query_key_norm;
  model.fused_projections = family.fused_projections;
  model.gguf_rotary_neighbours = family.gguf_rotary_neighbours;
  model.tied_embeddings = BoolOr(fields, "tie_word_embeddings", family.tied_by_default);
  return model;
}

ModelConfig ReadModelConfig(const std::filesystem::path& config_json) {
  return ParseModelConfig(ReadJsonFile(config_json), config_json.string());
}

}  // namespace kvtune
