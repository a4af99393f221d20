#include "lib/core/plan_latency.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/hash.h"

namespace kvtune {
namespace {

constexpr double kNanosecondsPerMillisecond = 1e6;

std::string SettingText(const DecodeSetting& setting) {
  return fmt::format("{} x {}", setting.batch, setting.context_tokens);
}

bool IsAsWanted(const DecodeSetting& setting, const WantedSetting& wanted) {
  return setting.batch == wanted.batch.value_or(setting.batch) &&
         setting.context_tokens == wanted.context_tokens.value_or(setting.context_tokens);
}

std::string WantedText(const WantedSetting& wanted) {
  const auto text = [](const std::optional<int64_t>& number) {
    return number ? fmt::format("{}", *number) : std::string("any");
  };
  return fmt::format("{} x {}", text(wanted.batch), text(wanted.context_tokens));
}

std::string ShapeText(const LayerShape& shape) {
  return fmt::format("{} KV heads of {} and {} channels and {}", shape.kv_heads, shape.key_head_dim,
                     shape.value_head_dim,
                     shape.window_tokens > 0 ? fmt::format("a window of {}", shape.window_tokens)
                                             : std::string("full attention"));
}

}  // namespace

Json ToJson(const LatencySource& source) {
  return {{"device", source.device},
          {"batch", source.setting.batch},
          {"context", source.setting.context_tokens},
          {"table", source.table}};
}

LatencySource LatencySourceFromJson(JsonFields fields) {
  LatencySource source;
  source.device = fields.String("device");
  source.setting = {fields.IntegerFrom("batch", 1), fields.IntegerFrom("context", 1)};
  source.table = fields.String("table");
  fields.RequireNoOthers();
  return source;
}

double ReadMilliseconds(JsonFields& fields, std::string_view key) {
  constexpr double kDay = 86'400'000;
  return fields.NumberWithin(key, 0, kDay);
}

std::string HashOfTable(const LatencyTable& table) { return HashOf(ToJson(table).dump()); }

AttentionTimes::AttentionTimes(const LatencyTable& table, const SettingLatency& setting)
    : setting_(setting.setting) {
  for (const LayerShape& shape : table.layers) {
    shape_of_layer_.push_back(
        static_cast<size_t>(std::ranges::find(table.layers, shape) - table.layers.begin()));
  }
  for (const PairLatency& pair : setting.pairs) {
    const double nanoseconds = pair.attention.median * kNanosecondsPerMillisecond;
    nanoseconds_.try_emplace({shape_of_layer_[pair.layer], pair.pair}, std::llround(nanoseconds));
  }
}

int64_t AttentionTimes::Nanoseconds(size_t layer, PrecisionPair pair) const {
  const auto found = nanoseconds_.find({shape_of_layer_[layer], pair});
  if (found != nanoseconds_.end()) return found->second;
  throw Error(fmt::format(
      "latency of decode steps: found no time of {} in layers like layer {} at {}, expected "
      "every pair of the plan; `kvtune bench` measures them",
      PairLabel(pair), layer, SettingText(setting_)));
}

double AttentionTimes::Milliseconds(const PrecisionPlan& plan) const {
  int64_t sum = 0;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer)
    sum += Nanoseconds(layer, plan.layers[layer]);
  return static_cast<double>(sum) / kNanosecondsPerMillisecond;
}

void AttentionTimes::RequirePairs(std::span<const PrecisionPair> pairs) const {
  for (size_t layer = 0; layer < shape_of_layer_.size(); ++layer) {
    for (const PrecisionPair pair : pairs) Nanoseconds(layer, pair);
  }
}

const SettingLatency& ChooseSetting(const LatencyTable& table, const WantedSetting& wanted) {
  const SettingLatency* chosen = nullptr;
  size_t count = 0;
  std::string known;
  for (const SettingLatency& one : table.settings) {
    known += (known.empty() ? "" : ", ") + SettingText(one.setting);
    if (!IsAsWanted(one.setting, wanted)) continue;
    chosen = &one;
    ++count;
  }
  if (count == 1) return *chosen;
  throw Error(fmt::format("latency of decode steps: found {} for the batch and context {}, "
                          "expected one of those that were measured (--latency-batch, "
                          "--latency-context): {}",
                          count == 0 ? "no time" : fmt::format("{} settings", count),
                          WantedText(wanted), known.empty() ? "none" : known),
              ExitCode::kUsage);
}

void RequireLayersOf(const ModelConfig& model, const LatencyTable& table, std::string_view source) {
  const auto fail = [&](const std::string& found_and_expected) {
    throw Error(
        fmt::format("latency of decode steps in {}: {} as the model has; `kvtune bench` "
                    "measures this model",
                    source, found_and_expected));
  };
  const std::vector<LayerShape> layers = LayerShapesOf(model);
  if (table.layers.size() != layers.size()) {
    fail(fmt::format("found times of {} layers, expected {}", table.layers.size(), layers.size()));
  }
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    if (table.layers[layer] == layers[layer]) continue;
    fail(fmt::format("found layer {} with {}, expected {}", layer, ShapeText(table.layers[layer]),
                     ShapeText(layers[layer])));
  }
  // Tables of earlier versions do not say how many queries share a KV head, nor does a run.
  const bool are_known = table.query_heads && model.query_heads > 0;
  if (are_known && *table.query_heads != model.query_heads) {
    fail(fmt::format("found {} query heads, expected {}", *table.query_heads, model.query_heads));
  }
}

}  // namespace kvtune
