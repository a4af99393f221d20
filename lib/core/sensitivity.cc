#include "lib/core/sensitivity.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>

#include "lib/base/error.h"
#include "lib/core/artifacts.h"
#include "lib/core/plan_score.h"

namespace kvtune {
namespace {

Json ErrorsToJson(const PairErrors& errors) {
  Json json = {{"e_k", errors.e_k},
               {"e_v", errors.e_v},
               {"e_a", errors.e_a},
               {"e_o", errors.e_o},
               {"bits", errors.bits}};
  if (errors.kl) json["kl"] = *errors.kl;
  return json;
}

Json LayerToJson(const LayerSensitivity& layer, const std::vector<PrecisionPair>& pairs) {
  if (layer.errors.size() != pairs.size()) {
    throw Error(fmt::format("writing the sensitivity of layer {}: found {} pairs, expected {}",
                            layer.index, layer.errors.size(), pairs.size()));
  }
  Json errors = Json::object();
  Json per_head = Json::object();
  for (size_t i = 0; i < pairs.size(); ++i) {
    const PairErrors& of_pair = layer.errors[i];
    errors[PairLabel(pairs[i])] = ErrorsToJson(of_pair);
    per_head[PairLabel(pairs[i])] = {{"e_k", of_pair.head_e_k},
                                     {"e_k_median", of_pair.head_e_k_median},
                                     {"e_v", of_pair.head_e_v},
                                     {"e_o", of_pair.head_e_o}};
  }
  return {{"index", layer.index},
          {"errors", std::move(errors)},
          {"per_head", std::move(per_head)},
          {"key_outlier_ratio", layer.key_outlier_ratio},
          {"key_bias_norm", layer.key_bias_norm},
          {"key_max", layer.maxima.key},
          {"value_max", layer.maxima.value},
          {"attention_concentration", layer.attention_concentration}};
}

// Of ratios and magnitudes, none of which is below 0; what float32 holds.
constexpr double kMostMagnitude = 3.4028235e38;

void RequireMagnitudes(const JsonFields& fields, std::string_view key,
                       std::span<const double> numbers) {
  for (const double number : numbers) {
    if (number >= 0 && number <= kMostMagnitude) continue;
    fields.Fail(key,
                fmt::format("found {}, expected numbers from 0 to {}", number, kMostMagnitude));
  }
}

double ReadMagnitude(JsonFields& fields, std::string_view key) {
  return fields.NumberWithin(key, 0, kMostMagnitude);
}

std::vector<double> ReadHeads(JsonFields& fields, std::string_view key, int64_t kv_heads) {
  std::vector<double> heads = fields.Numbers(key);
  RequireMagnitudes(fields, key, heads);
  // The list is empty when the table was measured without the errors per head.
  if (!heads.empty() && static_cast<int64_t>(heads.size()) != kv_heads) {
    fields.Fail(
        key, fmt::format("found {} numbers, expected {}, one per KV head", heads.size(), kv_heads));
  }
  return heads;
}

std::vector<float> ReadMaxima(JsonFields& fields, std::string_view key, int64_t kv_heads) {
  const std::vector<double> heads = ReadHeads(fields, key, kv_heads);
  return {heads.begin(), heads.end()};
}

PairErrors ErrorsFromJson(JsonFields fields, JsonFields heads, int64_t kv_heads) {
  PairErrors errors;
  constexpr double kMostBits = 1024;
  errors.e_k = ReadMagnitude(fields, "e_k");
  errors.e_v = ReadMagnitude(fields, "e_v");
  errors.e_a = ReadMagnitude(fields, "e_a");
  errors.e_o = ReadMagnitude(fields, "e_o");
  errors.bits = fields.NumberWithin("bits", 0, kMostBits);
  fields.Ignore("kl");
  if (fields.Has("kl")) errors.kl = ReadLoss(fields, "kl");
  fields.RequireNoOthers();
  errors.head_e_k = ReadHeads(heads, "e_k", kv_heads);
  // Tables that earlier versions wrote do not have this field.
  if (heads.Has("e_k_median")) errors.head_e_k_median = ReadHeads(heads, "e_k_median", kv_heads);
  errors.head_e_v = ReadHeads(heads, "e_v", kv_heads);
  errors.head_e_o = ReadHeads(heads, "e_o", kv_heads);
  heads.RequireNoOthers();
  return errors;
}

LayerSensitivity LayerFromJson(JsonFields fields, size_t expected_index,
                               const SensitivityTable& table) {
  LayerSensitivity layer;
  layer.index = ReadCount(fields, "index");
  if (layer.index != expected_index) {
    fields.Fail("index", fmt::format("found {}, expected {}", layer.index, expected_index));
  }
  const int64_t kv_heads = table.run.layers[layer.index].kv_heads;
  JsonFields errors = fields.Object("errors");
  JsonFields per_head = fields.Object("per_head");
  for (const PrecisionPair pair : table.pairs) {
    const std::string label = PairLabel(pair);
    layer.errors.push_back(ErrorsFromJson(errors.Object(label), per_head.Object(label), kv_heads));
  }
  errors.RequireNoOthers();
  per_head.RequireNoOthers();
  layer.key_outlier_ratio = ReadMagnitude(fields, "key_outlier_ratio");
  layer.key_bias_norm = ReadMagnitude(fields, "key_bias_norm");
  layer.maxima.key = ReadMaxima(fields, "key_max", kv_heads);
  layer.maxima.value = ReadMaxima(fields, "value_max", kv_heads);
  layer.attention_concentration = fields.Numbers("attention_concentration");
  RequireMagnitudes(fields, "attention_concentration", layer.attention_concentration);
  fields.RequireNoOthers();
  return layer;
}

}  // namespace

Json ToJson(const SensitivityTable& table) {
  Json json = {{"schema_version", kSchemaVersion}, {"run", ToJson(table.run)}};
  WritePairs(json, table.pairs);
  Json layers = Json::array();
  for (const LayerSensitivity& layer : table.layers)
    layers.push_back(LayerToJson(layer, table.pairs));
  json["layers"] = std::move(layers);
  RequireFinite(json, "writing the sensitivity table");
  return json;
}

SensitivityTable SensitivityTableFromJson(const Json& json, const std::string& source) {
  JsonFields fields = OpenArtifact(json, source);
  SensitivityTable table;
  table.run = ProvenanceFromJson(fields.Object("run"));
  table.pairs = ReadPairs(fields);
  std::vector<JsonFields> layers = fields.Objects("layers");
  if (static_cast<int64_t>(layers.size()) != table.run.layer_count()) {
    fields.Fail("layers", fmt::format("found {} layers, expected {}", layers.size(),
                                      table.run.layer_count()));
  }
  for (JsonFields& layer : layers) {
    table.layers.push_back(LayerFromJson(std::move(layer), table.layers.size(), table));
  }
  fields.RequireNoOthers();
  return table;
}

}  // namespace kvtune
