#include "lib/core/model_config.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"

namespace kvtune {
namespace {

// The families that the decoder can run, and where each one's config differs.
struct Family {
  std::string_view architecture;
  bool biased_query_key_value;  // regardless of config.json's attention_bias
};

constexpr std::array<Family, 2> kFamilies = {{
    {"LlamaForCausalLM", false},
    {"Qwen2ForCausalLM", true},
}};

const Family& FindFamily(JsonFields& fields) {
  const std::vector<std::string> architectures = fields.Strings("architectures");
  std::string known;
  for (const Family& family : kFamilies) {
    if (architectures.size() == 1 && architectures[0] == family.architecture) return family;
    if (!known.empty()) known += " or ";
    known += family.architecture;
  }
  const std::string found =
      architectures.empty() ? "none" : fmt::format("{}", fmt::join(architectures, ", "));
  fields.Fail("architectures", fmt::format("found {}, expected {}", found, known));
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

void RequireSupportedOptions(JsonFields& fields) {
  if (const std::string activation = fields.String("hidden_act"); activation != "silu") {
    fields.Fail("hidden_act", fmt::format("found \"{}\", expected \"silu\"", activation));
  }
  if (BoolOr(fields, "use_sliding_window", false)) {
    fields.Fail("use_sliding_window",
                "found true, expected false: sliding-window layers are not supported yet");
  }
}

}  // namespace

ModelConfig ParseModelConfig(const Json& config, const std::string& source) {
  JsonFields fields(config, source);
  const Family& family = FindFamily(fields);
  RequireSupportedOptions(fields);

  ModelConfig model;
  model.architecture = family.architecture;
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
  model.query_key_value_bias =
      family.biased_query_key_value || BoolOr(fields, "attention_bias", false);
  model.output_bias = !family.biased_query_key_value && BoolOr(fields, "attention_bias", false);
  model.mlp_bias = BoolOr(fields, "mlp_bias", false);
  model.tied_embeddings = BoolOr(fields, "tie_word_embeddings", false);

  if (model.query_heads % kv_heads != 0) {
    fields.Fail("num_key_value_heads",
                fmt::format("found {} for {} attention heads, expected a divisor", kv_heads,
                            model.query_heads));
  }
  if (head_dim <= 0 || head_dim % 2 != 0) {
    fields.Fail("head_dim", fmt::format("found {}, expected a positive even number", head_dim));
  }
  model.ropes = {ReadRope(fields, head_dim)};
  const LayerConfig layer{
      .kv_heads = kv_heads, .key_head_dim = head_dim, .value_head_dim = head_dim};
  model.layers.assign(static_cast<size_t>(layer_count), layer);
  return model;
}

ModelConfig ReadModelConfig(const std::filesystem::path& config_json) {
  return ParseModelConfig(ReadJsonFile(config_json), config_json.string());
}

}  // namespace kvtune
