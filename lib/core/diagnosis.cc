#include "lib/core/diagnosis.h"

#include <nlohmann/json.hpp>

#include "lib/core/artifacts.h"

namespace kvtune {
namespace {

void AddMeasurements(const KeyMeasurements& measured, Json& json) {
  json["output_error"] = measured.output_error;
  json["key_error"] = measured.key_error;
  json["key_outlier_ratio"] = measured.key_outlier_ratio;
  json["key_bias_norm"] = measured.key_bias_norm;
}

Json LayerToJson(const FragileLayer& layer) {
  Json json = {{"index", layer.index}, {"needed_key", FormatOf(layer.needed_key).name}};
  AddMeasurements(layer.measured, json);
  json["causes"] = Json::array();
  for (const FragilityCause cause : layer.causes) json["causes"].push_back(CauseName(cause));
  return json;
}

}  // namespace

std::string_view CauseName(FragilityCause cause) {
  switch (cause) {
    case FragilityCause::kKeyError:
      return "key error";
    case FragilityCause::kOutputError:
      return "attention output error";
    case FragilityCause::kKeyOutliers:
      return "key outlier channels";
    case FragilityCause::kKeyBias:
      return "key bias";
  }
  return "";
}

Json ToJson(const Diagnosis& diagnosis) {
  Json json = {{"schema_version", kSchemaVersion}, {"run", ToJson(diagnosis.run)}};
  json["safe_key"] = diagnosis.safe_key ? Json(FormatOf(*diagnosis.safe_key).name) : Json();
  json["is_safe"] = diagnosis.is_safe;
  Json ordinary = {{"worst_output_error", diagnosis.ordinary_output_error}};
  AddMeasurements(diagnosis.ordinary_median, ordinary);
  json["ordinary"] = std::move(ordinary);
  json["fragile"] = Json::array();
  for (const FragileLayer& layer : diagnosis.fragile) json["fragile"].push_back(LayerToJson(layer));
  RequireFinite(json, "writing the diagnosis");
  return json;
}

}  // namespace kvtune
