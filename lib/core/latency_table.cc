#include "lib/core/latency_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <utility>

#include "lib/base/error.h"
#include "lib/core/artifacts.h"

namespace kvtune {
namespace {

Json ToJson(const Timing& timing) {
  return {{"median", timing.median}, {"lowest", timing.lowest}, {"highest", timing.highest}};
}

Timing TimingFromJson(JsonFields fields) {
  constexpr double kDay = 86'400'000;
  const Timing timing{fields.NumberWithin("median", 0, kDay),
                      fields.NumberWithin("lowest", 0, kDay),
                      fields.NumberWithin("highest", 0, kDay)};
  if (timing.lowest > timing.median || timing.median > timing.highest) {
    fields.Fail("median",
                fmt::format("found {}, expected a number from lowest to highest, {} to {}",
                            timing.median, timing.lowest, timing.highest));
  }
  fields.RequireNoOthers();
  return timing;
}

Json ToJson(const PairLatency& latency) {
  Json json = {{"layer", latency.layer}, {"pair", PairLabel(latency.pair)}};
  json["formats"] = PairFormatsToJson(latency.pair);
  json["attention_ms"] = ToJson(latency.attention);
  json["bytes"] = latency.bytes;
  return json;
}

PairLatency PairFromJson(JsonFields fields, size_t layer_count) {
  PairLatency latency;
  latency.layer = ReadCount(fields, "layer");
  if (latency.layer >= layer_count) {
    fields.Fail("layer", fmt::format("found {}, expected one of the layers 0 to {}", latency.layer,
                                     layer_count - 1));
  }
  fields.Ignore("pair");
  latency.pair = PairFormatsFromJson(fields.Object("formats"));
  latency.attention = TimingFromJson(fields.Object("attention_ms"));
  latency.bytes = fields.IntegerFrom("bytes", 0);
  fields.RequireNoOthers();
  return latency;
}

Json ToJson(const StepLatency& step, const DecodeSetting& setting) {
  Json json = {{"name", step.name}, {"spec", PlanSpec(step.plan)}};
  Json layers = Json::array();
  for (const PrecisionPair pair : step.plan.layers) layers.push_back(PairFormatsToJson(pair));
  json["layers"] = std::move(layers);
  json["step_ms"] = ToJson(step.step);
  json["attention_ms"] = step.attention;
  json["tokens_per_second"] =
      step.step.median > 0 ? 1000 * static_cast<double>(setting.batch) / step.step.median : 0;
  json["cache_bytes"] = step.cache_bytes;
  json["largest_batch"] = step.largest_batch;
  if (step.counted_bytes) json["counted_bytes"] = *step.counted_bytes;
  return json;
}

StepLatency StepFromJson(JsonFields fields, size_t layer_count) {
  StepLatency step;
  step.name = fields.String("name");
  fields.Ignore("spec");
  fields.Ignore("tokens_per_second");
  for (JsonFields& layer : fields.Objects("layers"))
    step.plan.layers.push_back(PairFormatsFromJson(std::move(layer)));
  if (step.plan.layers.size() != layer_count) {
    fields.Fail("layers", fmt::format("found {}, expected {}, as the model has",
                                      step.plan.layers.size(), layer_count));
  }
  step.step = TimingFromJson(fields.Object("step_ms"));
  step.attention = fields.NumberWithin("attention_ms", 0, 1e9);
  step.cache_bytes = fields.IntegerFrom("cache_bytes", 0);
  step.largest_batch = fields.IntegerFrom("largest_batch", 0);
  if (fields.Has("counted_bytes")) step.counted_bytes = fields.IntegerFrom("counted_bytes", 0);
  fields.RequireNoOthers();
  return step;
}

}  // namespace

Timing TimingOf(std::vector<double> milliseconds) {
  std::ranges::sort(milliseconds);
  return {milliseconds[milliseconds.size() / 2], milliseconds.front(), milliseconds.back()};
}

Json ToJson(const LatencyTable& table) {
  Json settings = Json::array();
  for (const SettingLatency& setting : table.settings) {
    Json pairs = Json::array(), steps = Json::array();
    for (const PairLatency& pair : setting.pairs) pairs.push_back(ToJson(pair));
    for (const StepLatency& step : setting.steps) steps.push_back(ToJson(step, setting.setting));
    settings.push_back({{"batch", setting.setting.batch},
                        {"context", setting.setting.context_tokens},
                        {"pairs", std::move(pairs)},
                        {"steps", std::move(steps)}});
  }
  Json json = {{"schema_version", kSchemaVersion},
               {"device", table.device},
               {"model", table.model},
               {"copy_bytes_per_second", table.copy_bytes_per_second},
               {"layer_count", table.layers.size()},
               {"layer_shapes", ToJson(std::span<const LayerShape>(table.layers))},
               {"settings", std::move(settings)}};
  if (table.query_heads) json["query_heads"] = *table.query_heads;
  RequireFinite(json, "writing the latency table");
  return json;
}

LatencyTable LatencyTableFromJson(const Json& json, const std::string& source) {
  JsonFields fields = OpenArtifact(json, source);
  LatencyTable table;
  table.device = fields.String("device");
  table.model = fields.String("model");
  table.copy_bytes_per_second = fields.NumberWithin("copy_bytes_per_second", 0, 1e16);
  const size_t layer_count = ReadCount(fields, "layer_count");
  table.layers = LayerShapesFromJson(fields, "layer_shapes", layer_count);
  if (fields.Has("query_heads")) table.query_heads = fields.IntegerFrom("query_heads", 1);
  for (JsonFields& of_setting : fields.Objects("settings")) {
    SettingLatency setting;
    setting.setting = {of_setting.IntegerFrom("batch", 1), of_setting.IntegerFrom("context", 1)};
    std::set<std::pair<size_t, PrecisionPair>> known;
    for (JsonFields& pair : of_setting.Objects("pairs")) {
      setting.pairs.push_back(PairFromJson(std::move(pair), layer_count));
      const PairLatency& read = setting.pairs.back();
      if (!known.emplace(read.layer, read.pair).second) {
        of_setting.Fail("pairs", fmt::format("found {} of layer {} twice, expected it once",
                                             PairLabel(read.pair), read.layer));
      }
    }
    for (JsonFields& step : of_setting.Objects("steps"))
      setting.steps.push_back(StepFromJson(std::move(step), layer_count));
    of_setting.RequireNoOthers();
    table.settings.push_back(std::move(setting));
  }
  fields.RequireNoOthers();
  return table;
}

}  // namespace kvtune
