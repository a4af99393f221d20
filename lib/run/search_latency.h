// The times that a search by time takes its plans' from: which table, which setting of it, and what
// has to be in it.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "lib/core/latency_table.h"
#include "lib/core/model_config.h"
#include "lib/core/pareto_front.h"
#include "lib/core/plan_latency.h"
#include "lib/run/decode_bench.h"

namespace kvtune {

// How a user asks for a search by time too.
struct LatencyOptions {
  bool wanted = false;
  std::filesystem::path file;  // empty: latency.json of the run directory
  WantedSetting setting;
};

// Reads a latency.json. Throws Error.
LatencyTable ReadLatencyTable(const std::filesystem::path& file);

// What to measure before a search where there is no table: the attention of every pair, and of the
// exact one, in every kind of layer.
DecodeBench BenchForSearch(std::span<const PrecisionPair> pairs, const DecodeSetting& setting);

// The times of the wanted setting. Throws Error where the table is of other layers than the
// model's, has no such setting, or lacks the time of one of `pairs` or of the exact pair in some
// layer. `source` names the table in messages.
SearchLatency LatencyForSearch(const LatencyTable& table, const WantedSetting& wanted,
                               const ModelConfig& model, std::span<const PrecisionPair> pairs,
                               const std::string& source);

// Adds the table and its setting to the options that run.json keeps, by their flags.
void AddLatencyOptions(Json& options, const SearchLatency& latency);

// The same costs with the plans' times.
CostFunction WithLatency(CostFunction cost, const SearchLatency& latency);

}  // namespace kvtune
