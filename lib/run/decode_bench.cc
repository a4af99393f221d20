#include "lib/run/decode_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/quantity.h"
#include "lib/core/plan_latency.h"

namespace kvtune {
namespace {

// A pair in a kind of layer.
struct LayerPair {
  size_t layer;  // the first of its shape
  PrecisionPair pair;
  friend bool operator==(const LayerPair&, const LayerPair&) = default;
};

size_t FirstLike(const std::vector<LayerShape>& layers, size_t layer) {
  return static_cast<size_t>(std::ranges::find(layers, layers[layer]) - layers.begin());
}

void AddOnce(std::vector<LayerPair>& pairs, const LayerPair& pair) {
  if (std::ranges::find(pairs, pair) == pairs.end()) pairs.push_back(pair);
}

// Every pair of the plans and of the bench in every kind of layer, each once.
std::vector<LayerPair> PairsToTime(const DecodeBench& bench,
                                   const std::vector<LayerShape>& layers) {
  std::vector<LayerPair> pairs;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const size_t first = FirstLike(layers, layer);
    for (const NamedPlan& plan : bench.plans) AddOnce(pairs, {first, plan.plan.layers[layer]});
    for (const PrecisionPair pair : bench.pairs) AddOnce(pairs, {first, pair});
  }
  return pairs;
}

void RequirePackable(const DecodeTimer& timer, const std::vector<LayerPair>& pairs) {
  for (const LayerPair& one : pairs) {
    if (const std::string reason = timer.WhyNot(one.layer, one.pair); !reason.empty()) {
      throw Error(fmt::format("packing the cache of layer {} as {}: {}", one.layer,
                              PairLabel(one.pair), reason));
    }
  }
}

// Of all sequences, with the token of the step.
std::optional<int64_t> CountedBytes(const DecodeBench& bench, const PrecisionPlan& plan,
                                    const DecodeSetting& setting) {
  if (!bench.counted_bytes) return std::nullopt;
  const double of_one = bench.counted_bytes(plan, setting.context_tokens + 1);
  return std::llround(of_one * static_cast<double>(setting.batch));
}

}  // namespace

std::vector<NamedPlan> ReferencePlans(const ModelConfig& config, const DecodeTimer& timer,
                                      const std::vector<PrecisionPair>& pairs) {
  const std::vector<LayerShape> layers = LayerShapesOf(config);
  std::vector<NamedPlan> plans;
  const auto add = [&](std::string name, PrecisionPair pair) {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      if (!timer.WhyNot(layer, pair).empty()) return;
    }
    plans.push_back({std::move(name), PrecisionPlan::Uniform(pair, layers.size())});
  };
  add("bf16", kExactPair);
  add("fp8_e4m3", {KvFormatId::kFp8E4m3, KvFormatId::kFp8E4m3});
  for (const PrecisionPair pair : pairs) {
    const int bits = FormatOf(pair.key).bits;
    if (pair.key == pair.value && (bits == 8 || bits == 4) && pair.key != KvFormatId::kFp8E4m3)
      add(PairLabel(pair), pair);
  }
  return plans;
}

LatencyTable MeasureDecoding(const DecodeBench& bench, const ModelConfig& config,
                             const std::string& model, DecodeTimer& timer,
                             const std::function<void(std::string_view)>& progress,
                             const std::function<void(std::string_view)>& skipped) {
  LatencyTable table;
  table.device = timer.device_name();
  table.model = model;
  table.layers = LayerShapesOf(config);
  table.query_heads = config.query_heads;
  const std::vector<LayerPair> pairs = PairsToTime(bench, table.layers);
  RequirePackable(timer, pairs);
  progress("measuring the copy bandwidth");
  table.copy_bytes_per_second = timer.CopyBandwidth();
  const int64_t memory = timer.CacheMemory();
  for (const DecodeSetting& setting : bench.settings) {
    const std::string where =
        fmt::format("batch {}, context {}", setting.batch, TokensText(setting.context_tokens));
    SettingLatency latency{.setting = setting, .pairs = {}, .steps = {}};
    for (const LayerPair& one : pairs) {
      progress(fmt::format("{}: attention of {}", where, PairLabel(one.pair)));
      const TimedAttention timed = timer.TimeAttention(one.layer, one.pair, setting);
      latency.pairs.push_back({one.layer, one.pair, timed.time, timed.bytes});
    }
    for (const NamedPlan& plan : bench.plans) {
      if (!bench.whole_steps) break;
      const int64_t bytes = timer.CacheBytes(plan.plan, setting);
      if (bytes > memory) {
        skipped(
            fmt::format("{}: {} is left out, its caches take {} and {} are free beside the "
                        "weights",
                        where, plan.name, SizeText(static_cast<double>(bytes)),
                        SizeText(static_cast<double>(memory))));
        continue;
      }
      progress(fmt::format("{}: a step of {}", where, plan.name));
      const TimedStep timed = timer.TimeStep(plan.plan, setting);
      const int64_t of_one = timer.CacheBytes(plan.plan, {1, setting.context_tokens});
      latency.steps.push_back(
          {plan.name, plan.plan, timed.time, AttentionTimes(table, latency).Milliseconds(plan.plan),
           timed.cache_bytes, memory / of_one, CountedBytes(bench, plan.plan, setting)});
    }
    table.settings.push_back(std::move(latency));
  }
  return table;
}

}  // namespace kvtune
