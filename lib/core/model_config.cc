#include "lib/core/model_config.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/checked.h"
#include "lib/base/error.h"
#include "lib/core/class_defaults.h"
#include "lib/core/model_families.h"

namespace kvtune {
namespace {

// No model has more; a larger number is a mistake that would cost minutes or overflow sums.
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxWidth = int64_t{1} << 24;       // of hidden states, MLPs, heads
constexpr int64_t kMaxCount = int64_t{1} << 20;       // of heads and experts
constexpr int64_t kMaxVocabulary = int64_t{1} << 31;  // token ids have 32 bits
constexpr int64_t kMaxPositions = int64_t{1} << 40;
constexpr int64_t kMaxParameters = int64_t{1} << 50;
// Of scales and caps; the smallest scale is its inverse. Beyond them scores would be NaN without a
// word about the field.
constexpr double kMaxScale = 1e6;

std::string ArchitectureOf(JsonFields& fields) {
  const std::vector<std::string> architectures = fields.Strings("architectures");
  if (architectures.size() == 1) return architectures[0];
  const std::string found =
      architectures.empty() ? "none" : fmt::format("{}", fmt::join(architectures, ", "));
  fields.Fail("architectures", fmt::format("found {}, expected one of {}", found, FamilyNames()));
}

[[noreturn]] void RefuseArchitecture(const JsonFields& fields, const std::string& architecture) {
  if (const std::string_view reason = ReasonOfRefusal(architecture); !reason.empty()) {
    fields.Fail("architectures",
                fmt::format("found {}, which kvtune does not run: {}", architecture, reason));
  }
  fields.Fail("architectures",
              fmt::format("found {}, expected one of {}", architecture, FamilyNames()));
}

// A model's code goes by its model_type, its name is the architecture's.
void RequireModelType(JsonFields& fields, const Family& family) {
  constexpr std::string_view kKey = "model_type";
  if (!fields.Has(kKey)) return;
  const std::string type = fields.String(kKey);
  const Family* other = FindFamilyByModelType(type);
  if (other == nullptr || other->config_class == family.config_class) return;
  fields.Fail(kKey,
              fmt::format("found \"{}\", expected \"{}\" as \"architectures\" says {}", type,
                          ClassDefaults(family.config_class).at("model_type").get<std::string>(),
                          family.architecture));
}

// The text model of one that also reads images: its fields are in text_config, or among the others
// in older files.
struct TextModel {
  const Json* config = nullptr;
  const Family* family = nullptr;
};

TextModel FindTextModel(const Json& config, const std::string& source, const Wrapper& wrapper) {
  JsonFields fields(config, source);
  TextModel text{&config, FindFamilyByModelType(wrapper.text_model_type)};
  if (!fields.Has("text_config")) return text;
  JsonFields inner = fields.Object("text_config");
  text.config = &fields.Value("text_config");
  if (!inner.Has("model_type")) return text;
  const std::string type = inner.String("model_type");
  // Before they had text_config, these were named like the whole.
  const bool is_whole = fields.Has("model_type") && fields.String("model_type") == type;
  if (is_whole) return text;
  text.family = FindFamilyByModelType(type);
  if (text.family == nullptr) {
    inner.Fail("model_type", fmt::format("found \"{}\", expected a text model that kvtune runs: {}",
                                         type, FamilyNames()));
  }
  return text;
}

int64_t PositiveInteger(JsonFields& fields, std::string_view key, int64_t largest) {
  const int64_t value = fields.Integer(key);
  if (value <= 0) fields.Fail(key, fmt::format("found {}, expected a positive integer", value));
  if (value > largest) {
    fields.Fail(key, fmt::format("found {}, expected at most {}", value, largest));
  }
  return value;
}

int64_t PositiveIntegerOr(JsonFields& fields, std::string_view key, int64_t fallback,
                          int64_t largest) {
  return fields.Has(key) ? PositiveInteger(fields, key, largest) : fallback;
}

bool BoolOr(JsonFields& fields, std::string_view key, bool fallback) {
  return fields.Has(key) ? fields.Bool(key) : fallback;
}

// 0 where there is none.
double SoftCap(JsonFields& fields, std::string_view key) {
  if (!fields.Has(key)) return 0;
  return fields.NumberWithin(key, 0, kMaxScale);
}

// The only activation field that the family's class has.
std::string_view ActivationKey(const JsonFields& fields) {
  return fields.Has("hidden_activation") ? "hidden_activation" : "hidden_act";
}

Activation ReadActivation(JsonFields& fields, const Family& family) {
  if (family.activation) return *family.activation;
  const std::string_view key = ActivationKey(fields);
  const std::string activation = fields.String(key);
  if (activation == "silu" || activation == "swish") return Activation::kSilu;
  if (activation == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  fields.Fail(key,
              fmt::format("found \"{}\", expected \"silu\" or \"gelu_pytorch_tanh\"", activation));
}

PlainActivation ReadPlainActivation(JsonFields& fields) {
  const std::string_view key = ActivationKey(fields);
  const std::string activation = fields.String(key);
  if (activation == "relu2") return PlainActivation::kRelu2;
  if (activation == "gelu_pytorch_tanh") return PlainActivation::kGeluTanh;
  fields.Fail(key,
              fmt::format("found \"{}\", expected \"relu2\" or \"gelu_pytorch_tanh\"", activation));
}

bool AsksForWindows(JsonFields& fields) { return BoolOr(fields, "use_sliding_window", false); }

// Tokens of a sliding window; 0: none.
int64_t ReadWindow(JsonFields& fields, const Family& family) {
  constexpr std::string_view kKey = "sliding_window";
  if (family.windows == WindowRule::kNever || !fields.Has(kKey)) return 0;
  if (fields.Has("use_sliding_window") && !AsksForWindows(fields)) return 0;
  return PositiveInteger(fields, kKey, kMaxPositions);
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

// Which layers have the window by the family's rule, without a look at layer_types.
std::vector<bool> RuledLayers(JsonFields& fields, const Family& family,
                              const std::vector<LayerConfig>& layers) {
  const auto where = [&](const auto& rule) {
    std::vector<bool> sliding(layers.size(), false);
    for (size_t i = 0; i < layers.size(); ++i) sliding[i] = rule(static_cast<int64_t>(i));
    return sliding;
  };
  const bool asked = AsksForWindows(fields);
  constexpr std::string_view kFirst = "max_window_layers";
  switch (family.windows) {
    case WindowRule::kNever:
      break;
    case WindowRule::kEveryLayer:
      return where([](int64_t) { return true; });
    case WindowRule::kEveryLayerIfAsked:
      return where([&](int64_t) { return asked; });
    case WindowRule::kFromLayerIfAsked: {
      const int64_t first = fields.Integer(kFirst);
      return where([&](int64_t layer) { return asked && layer >= first; });
    }
    case WindowRule::kEvenIfAsked: {
      const int64_t end = fields.Integer(kFirst);
      return where([&](int64_t layer) { return asked && layer % 2 == 0 && layer < end; });
    }
    case WindowRule::kUnrotatedIfAsked:
      return where(
          [&](int64_t layer) { return asked && !layers[static_cast<size_t>(layer)].rope; });
    case WindowRule::kAllButEveryNth: {
      int64_t period = family.window_period;
      if (family.period_in_config) {
        period = PositiveIntegerOr(fields, "sliding_window_pattern", period, kMaxLayers);
      }
      return where([&](int64_t layer) { return (layer + 1) % period != 0; });
    }
  }
  return where([](int64_t) { return false; });
}

// Which layers are of the sliding kind, whether or not there is a window at all.
std::vector<bool> ReadSlidingLayers(JsonFields& fields, const Family& family, int64_t window,
                                    const std::vector<LayerConfig>& layers) {
  constexpr std::string_view kKey = "layer_types";
  const std::vector<bool> types = ReadLayerTypes(fields, layers.size());
  const bool any = std::ranges::count(types, true) > 0;
  if (family.has_layer_types && !types.empty()) {
    if (any && window == 0) {
      fields.Fail(kKey,
                  "found sliding layers, expected none as there is no sliding_window or "
                  "use_sliding_window is false");
    }
    return types;
  }
  const std::vector<bool> ruled = RuledLayers(fields, family, layers);
  if (!types.empty() && (window > 0 ? types != ruled : any)) {
    fields.Fail(kKey, fmt::format("found layers that differ from what {} does, expected them to "
                                  "agree: its code does not look at this field",
                                  family.architecture));
  }
  return ruled;
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
    const int64_t interval = PositiveInteger(fields, "no_rope_layer_interval", kMaxLayers);
    for (size_t i = 0; i < layers.size(); ++i) {
      rotated.push_back((static_cast<int64_t>(i) + 1) % interval != 0);
    }
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (rotated[i] == 0) layers[i].rope.reset();
  }
}

void ReadRopes(JsonFields& fields, const Family& family, ModelConfig& model) {
  const Json& defaults = ClassDefaults(family.config_class);
  const RopeContext context{
      .default_theta = defaults.at("rope_theta").get<double>(),
      .default_rotary_part = defaults.value("partial_rotary_factor", 1.0),
      .head_dim = model.layers.front().key_head_dim,
      .max_position_embeddings = model.max_position_embeddings,
      .part = family.rotates_partially ? RotaryPart::kPartial : RotaryPart::kWhole,
      .has_sections = family.has_rope_sections,
      .has_alpha = family.has_rope_alpha};
  if (family.local_rope == LocalRope::kNone) {
    model.ropes = {ReadRope(fields, context)};
    return;
  }
  const LocalRopeContext local{.default_theta = defaults.at("rope_local_theta").get<double>(),
                               .has_own_base = family.local_rope == LocalRope::kOwnBase};
  const LayerTypeRopes ropes = ReadLayerTypeRopes(fields, context, local);
  model.ropes = {ropes.full, ropes.sliding};
}

// A scaling of queries that stands among the rotary fields (Ministral 3).
void ReadQueryGrowth(JsonFields& fields, ModelConfig& model) {
  constexpr std::string_view kKey = "llama_4_scaling_beta";
  const std::string_view place = fields.Has("rope_scaling") ? "rope_scaling" : "rope_parameters";
  if (!fields.Has(place)) return;
  JsonFields parameters = fields.Object(place);
  if (!parameters.Has(kKey)) return;
  model.query_growth = parameters.NumberWithin(kKey, -kMaxScale, kMaxScale);
  model.query_growth_period = PositiveIntegerOr(parameters, "original_max_position_embeddings",
                                                model.max_position_embeddings, kMaxPositions);
}

void ReadExperts(JsonFields& fields, ExpertLayout layout, ModelConfig& model) {
  const std::string_view count_key =
      fields.Has("num_experts") ? "num_experts" : "num_local_experts";
  ExpertConfig& experts = model.experts;
  experts.layout = layout;
  experts.count = PositiveInteger(fields, count_key, kMaxCount);
  experts.per_token = PositiveInteger(fields, "num_experts_per_tok", kMaxCount);
  if (experts.per_token > experts.count) {
    fields.Fail("num_experts_per_tok", fmt::format("found {}, expected no more than the {} experts",
                                                   experts.per_token, experts.count));
  }
  experts.intermediate_size =
      PositiveIntegerOr(fields, "moe_intermediate_size", model.intermediate_size, kMaxWidth);
  experts.shared_intermediate_size =
      PositiveIntegerOr(fields, "shared_expert_intermediate_size", 0, kMaxWidth);
  if (layout == ExpertLayout::kQwen) {
    experts.renormalized = BoolOr(fields, "norm_topk_prob", false);
  }
  const int64_t sparse_step = PositiveIntegerOr(fields, "decoder_sparse_step", 1, kMaxLayers);
  std::vector<int64_t> dense_layers;
  if (fields.Has("mlp_only_layers")) dense_layers = fields.Integers("mlp_only_layers");
  for (int64_t i = 0; i < model.layer_count(); ++i) {
    model.layers[static_cast<size_t>(i)].has_experts =
        (i + 1) % sparse_step == 0 && std::ranges::count(dense_layers, i) == 0;
  }
}

// head_dim where the class has it, else the heads' share of the hidden size.
int64_t ReadHeadDim(JsonFields& fields, const Json& config, const ModelConfig& model) {
  constexpr std::string_view kKey = "head_dim";
  int64_t head_dim = 0;
  if (fields.Has(kKey)) {
    head_dim = PositiveInteger(fields, kKey, kMaxWidth);
  } else {
    if (model.hidden_size % model.query_heads != 0) {
      fields.Fail("hidden_size",
                  fmt::format("found {} for {} attention heads, expected a multiple, or head_dim",
                              model.hidden_size, model.query_heads));
    }
    head_dim = model.hidden_size / model.query_heads;
    // A class without the field ignores it; null where the class has a number is no value.
    const bool given = config.contains(kKey);
    if (given && !config.at(std::string(kKey)).is_null() &&
        config.at(std::string(kKey)) != head_dim) {
      fields.Fail(kKey,
                  fmt::format("found {}, expected {}, as this architecture divides its hidden "
                              "size by the heads",
                              config.at(std::string(kKey)).dump(), head_dim));
    }
  }
  if (head_dim % 2 != 0) {
    fields.Fail(kKey, fmt::format("found {}, expected a positive even number", head_dim));
  }
  return head_dim;
}

double ReadNormEps(JsonFields& fields) {
  std::string_view key = "rms_norm_eps";
  for (const std::string_view other : {"layer_norm_eps", "norm_eps", "norm_epsilon"}) {
    if (fields.Has(other)) key = other;
  }
  return fields.NumberWithin(key, 0, 1);
}

// Sizes and heads; layers that are all alike.
void ReadSizes(JsonFields& fields, const Json& config, ModelConfig& model) {
  const int64_t layer_count = PositiveInteger(fields, "num_hidden_layers", kMaxLayers);
  model.hidden_size = PositiveInteger(fields, "hidden_size", kMaxWidth);
  model.intermediate_size = PositiveInteger(fields, "intermediate_size", kMaxWidth);
  model.query_heads = PositiveInteger(fields, "num_attention_heads", kMaxCount);
  const int64_t kv_heads =
      PositiveIntegerOr(fields, "num_key_value_heads", model.query_heads, kMaxCount);
  const int64_t head_dim = ReadHeadDim(fields, config, model);
  model.vocab_size = PositiveInteger(fields, "vocab_size", kMaxVocabulary);
  model.max_position_embeddings = PositiveInteger(fields, "max_position_embeddings", kMaxPositions);
  model.norm_eps = ReadNormEps(fields);
  if (model.query_heads % kv_heads != 0) {
    const bool given = config.contains("num_key_value_heads");
    fields.Fail("num_key_value_heads",
                fmt::format("found {}{} for {} attention heads, expected a divisor", kv_heads,
                            given ? "" : ", the default of the model's class,", model.query_heads));
  }
  const LayerConfig layer{
      .kv_heads = kv_heads, .key_head_dim = head_dim, .value_head_dim = head_dim};
  model.layers.assign(static_cast<size_t>(layer_count), layer);
}

// So that no later product of sizes overflows.
void RequireSaneSize(const JsonFields& fields, const ModelConfig& model) {
  const LayerConfig& layer = model.layers.front();
  const auto require = [&](std::string_view key, std::optional<int64_t> parameters) {
    if (parameters && *parameters <= kMaxParameters) return;
    fields.Fail(key, fmt::format("found sizes of more than {} parameters, expected a model that "
                                 "can exist",
                                 kMaxParameters));
  };
  const int64_t layers = model.layer_count();
  require("num_attention_heads",
          CheckedProduct({4, layers, model.hidden_size, model.query_heads, layer.key_head_dim}));
  require("intermediate_size",
          CheckedProduct({3, layers, model.hidden_size, model.intermediate_size}));
  require("vocab_size", CheckedProduct({2, model.vocab_size, model.hidden_size}));
  if (model.experts.count > 0) {
    require("num_experts", CheckedProduct({3, layers, model.experts.count, model.hidden_size,
                                           model.experts.intermediate_size}));
  }
}

// Which layers do not turn, by their kind. REQUIRES: windows and kinds are known.
void UnrotateFullLayers(const Family& family, const std::vector<bool>& sliding, int64_t window,
                        ModelConfig& model) {
  if (family.unrotated != UnrotatedLayers::kFull &&
      family.unrotated != UnrotatedLayers::kFullBesideSliding) {
    return;
  }
  if (window == 0 && family.unrotated == UnrotatedLayers::kFullBesideSliding) return;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    if (!sliding[i] || window == 0) model.layers[i].rope.reset();
  }
}

void ReadLayers(JsonFields& fields, const Family& family, ModelConfig& model) {
  ReadRopes(fields, family, model);
  ReadQueryGrowth(fields, model);
  if (family.unrotated == UnrotatedLayers::kListed) ReadUnrotatedLayers(fields, model.layers);
  const int64_t window = ReadWindow(fields, family);
  const std::vector<bool> sliding = ReadSlidingLayers(fields, family, window, model.layers);
  for (size_t i = 0; i < model.layers.size(); ++i) {
    if (!sliding[i]) continue;
    // One that the context never fills is none.
    if (window < model.max_position_embeddings) model.layers[i].window_tokens = window;
    // By the layer's kind, whether or not the context ever fills its window.
    if (family.local_rope != LocalRope::kNone) model.layers[i].rope = 1;
  }
  UnrotateFullLayers(family, sliding, window, model);
  if (family.experts) ReadExperts(fields, *family.experts, model);
}

double ScaleOr(JsonFields& fields, std::string_view key, double fallback) {
  return fields.Has(key) ? fields.NumberWithin(key, 1 / kMaxScale, kMaxScale) : fallback;
}

// The fields of other families are not among `fields`.
void ReadScalesAndCaps(JsonFields& fields, const Family& family, ModelConfig& model) {
  const double scalar = ScaleOr(fields, "query_pre_attn_scalar",
                                static_cast<double>(model.layers.front().key_head_dim));
  model.attention_scale = ScaleOr(fields, "attention_multiplier", 1 / std::sqrt(scalar));
  model.attention_soft_cap = SoftCap(fields, "attn_logit_softcapping");
  model.logit_soft_cap = SoftCap(fields, "final_logit_softcapping");
  model.embedding_scale = family.scales_embedding
                              ? std::sqrt(static_cast<double>(model.hidden_size))
                              : ScaleOr(fields, "embedding_multiplier", 1);
  model.residual_scale = ScaleOr(fields, "residual_multiplier", 1);
  model.logit_scale = ScaleOr(fields, "logit_scale", 1) / ScaleOr(fields, "logits_scaling", 1);
  model.attention_sinks = family.has_sinks;
}

void ReadBiases(JsonFields& fields, const Family& family, ModelConfig& model) {
  bool asked = false;
  for (const std::string_view key : {"attention_bias", "use_bias", "qkv_bias", "use_qkv_bias"}) {
    asked = asked || BoolOr(fields, key, false);
  }
  const bool of_config = family.bias == BiasRule::kOfConfig && asked;
  model.query_key_value_bias = family.bias == BiasRule::kQueryKeyValue || of_config ||
                               (family.bias == BiasRule::kQueryKeyValueOfConfig && asked);
  model.output_bias =
      family.bias == BiasRule::kOfConfig && BoolOr(fields, "attention_out_bias", of_config);
  model.mlp_bias = BoolOr(fields, "mlp_bias", BoolOr(fields, "use_bias", false));
}

// What some checkpoints of a family have and the decoder has not.
void RefuseOptions(JsonFields& fields, const Json& config) {
  if (BoolOr(fields, "use_bidirectional_attention", false)) {
    fields.Fail("use_bidirectional_attention", "found true, expected a causal decoder");
  }
  for (const std::string_view key : {"use_qk_norm", "qk_layernorm", "use_parallel_residual"}) {
    if (BoolOr(fields, key, false)) {
      fields.Fail(key, "found true, expected false, as kvtune does not run this variant");
    }
  }
  if (fields.Has("clip_qkv")) {
    fields.Fail("clip_qkv", "found a limit, expected null, as kvtune does not run this variant");
  }
  JsonFields all(config, fields.where());
  for (const auto& [key, value] :
       {std::pair{"swiglu_limit", kSwigluLimit}, std::pair{"swiglu_alpha", kSwigluSlope}}) {
    if (!all.Has(key) || static_cast<float>(all.Number(key)) == value) continue;
    all.Fail(key, fmt::format("found {}, expected {}", all.Number(key), value));
  }
}

ModelConfig ParseTextModel(const Json& config, const std::string& source, const Family& family) {
  // The pattern has no field of its own in some classes, which read it from what else is there.
  Json known = WithClassDefaults(config, family.config_class);
  constexpr const char* kPattern = "sliding_window_pattern";
  if (family.period_in_config && config.contains(kPattern)) known[kPattern] = config.at(kPattern);
  JsonFields fields(known, source);
  RefuseOptions(fields, config);
  ModelConfig model;
  model.architecture = family.architecture;
  ReadSizes(fields, config, model);
  ReadLayers(fields, family, model);
  RequireSaneSize(fields, model);
  ReadScalesAndCaps(fields, family, model);
  ReadBiases(fields, family, model);
  model.mlp = family.mlp;
  if (model.has_gate()) {
    model.activation = ReadActivation(fields, family);
  } else {
    model.plain_activation = ReadPlainActivation(fields);
  }
  model.norm_placement = family.norms;
  model.norm_kind = family.norm_kind;
  model.norms_add_one = family.norms_add_one;
  model.query_key_norm = family.query_key_norm;
  model.fused_query_key_value = family.fused_query_key_value;
  model.gguf_rotary_neighbours = family.gguf_rotary_neighbours;
  model.rotary_neighbours = family.rotary_neighbours;
  model.tied_embeddings = BoolOr(fields, "tie_word_embeddings", false);
  return model;
}

}  // namespace

ModelConfig ParseModelConfig(const Json& config, const std::string& source) {
  JsonFields fields(config, source);
  const std::string architecture = ArchitectureOf(fields);
  if (const Family* family = FindFamily(architecture)) {
    RequireModelType(fields, *family);
    return ParseTextModel(config, source, *family);
  }
  const Wrapper* wrapper = FindWrapper(architecture);
  if (wrapper == nullptr) RefuseArchitecture(fields, architecture);
  const TextModel text = FindTextModel(config, source, *wrapper);
  ModelConfig model = ParseTextModel(
      *text.config, text.config == &config ? source : source + ": text_config", *text.family);
  if (model.logit_scale != 1 || model.logit_soft_cap != 0) {
    fields.Fail("text_config",
                "found a scale or a cap of the logits, expected none: transformers "
                "applies it to the text model alone, and not to the whole");
  }
  model.architecture = architecture;
  model.reads_images = true;
  // The whole has the head, and says whether it is tied.
  model.tied_embeddings =
      BoolOr(fields, "tie_word_embeddings",
             ClassDefaults(wrapper->config_class).at("tie_word_embeddings").get<bool>());
  return model;
}

ModelConfig ReadModelConfig(const std::filesystem::path& config_json) {
  return ParseModelConfig(ReadJsonFile(config_json), config_json.string());
}

}  // namespace kvtune
