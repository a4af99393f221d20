#include "lib/run/search_latency.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/core/artifacts.h"

namespace kvtune {
namespace {

// The exact plan is one of those that are searched.
std::vector<PrecisionPair> WithExact(std::span<const PrecisionPair> pairs) {
  std::vector<PrecisionPair> all(pairs.begin(), pairs.end());
  all.push_back(kExactPair);
  return DistinctPairs(std::move(all));
}

}  // namespace

LatencyTable ReadLatencyTable(const std::filesystem::path& file) {
  return LatencyTableFromJson(ReadArtifact(file, Artifact::kLatency), file.string());
}

DecodeBench BenchForSearch(std::span<const PrecisionPair> pairs, const DecodeSetting& setting) {
  return {.plans = {}, .pairs = WithExact(pairs), .settings = {setting}, .whole_steps = false};
}

SearchLatency LatencyForSearch(const LatencyTable& table, const WantedSetting& wanted,
                               const ModelConfig& model, std::span<const PrecisionPair> pairs,
                               const std::string& source) {
  RequireLayersOf(model, table, source);
  const SettingLatency& setting = ChooseSetting(table, wanted);
  auto times = std::make_shared<const AttentionTimes>(table, setting);
  times->RequirePairs(WithExact(pairs));
  return {
      .source = {.device = table.device, .setting = setting.setting, .table = HashOfTable(table)},
      .times = std::move(times)};
}

void AddLatencyOptions(Json& options, const SearchLatency& latency) {
  options["--objective-latency"] = latency.source.table;
  options["--latency-batch"] = latency.source.setting.batch;
  options["--latency-context"] = latency.source.setting.context_tokens;
}

CostFunction WithLatency(CostFunction cost, const SearchLatency& latency) {
  return [cost = std::move(cost), times = latency.times](const PrecisionPlan& plan) {
    PlanCost with_time = cost(plan);
    with_time.latency_ms = times->Milliseconds(plan);
    return with_time;
  };
}

}  // namespace kvtune
