// The time of a plan, from a table of measured times: what a search by time minimizes beside loss
// and bytes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/latency_table.h"
#include "lib/core/layer_shape.h"
#include "lib/core/model_config.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// Where plans' times come from.
struct LatencySource {
  std::string device;     // "NVIDIA H200"
  DecodeSetting setting;  // the decode step whose attention was timed
  std::string table;      // the hash of the table's content
  friend bool operator==(const LatencySource&, const LatencySource&) = default;
};

// The "latency" object of front.json (docs/artifacts.md).
Json ToJson(const LatencySource& source);
LatencySource LatencySourceFromJson(JsonFields fields);

// Reads milliseconds of a plan: a finite number from 0 on, and no longer than a day.
double ReadMilliseconds(JsonFields& fields, std::string_view key);

// The hash of a table's content, whatever its file's layout.
std::string HashOfTable(const LatencyTable& table);

// What attention takes in each layer under each pair, at one setting of a table. The median of each
// layer counts in whole nanoseconds, so that the sums of plans with the same pairs in other layers
// are the same number, and neither seems faster by rounding alone.
class AttentionTimes {
 public:
  // REQUIRES: setting is one of the table's.
  AttentionTimes(const LatencyTable& table, const SettingLatency& setting);

  // Milliseconds in all layers. Throws Error that names the first pair that was not measured.
  // REQUIRES: the plan has the table's layers.
  double Milliseconds(const PrecisionPlan& plan) const;
  // Throws Error that names the first of the pairs that was not measured in some layer.
  void RequirePairs(std::span<const PrecisionPair> pairs) const;
  // Of one layer. Throws Error as Milliseconds.
  int64_t Nanoseconds(size_t layer, PrecisionPair pair) const;

 private:
  DecodeSetting setting_;
  std::vector<size_t> shape_of_layer_;  // the first layer of the same shape
  std::map<std::pair<size_t, PrecisionPair>, int64_t> nanoseconds_;
};

// The times that plans are searched by.
struct SearchLatency {
  LatencySource source;
  std::shared_ptr<const AttentionTimes> times;
};

// What is asked of a table: the batch and the context of a decode step; nullopt where the table has
// only one.
struct WantedSetting {
  std::optional<int64_t> batch;
  std::optional<int64_t> context_tokens;
};

// The one setting of the table that is as wanted. Throws Error (kUsage) that lists the table's
// settings when none is, and when several are.
const SettingLatency& ChooseSetting(const LatencyTable& table, const WantedSetting& wanted);

// Throws Error that names the first difference between the layers that were timed and the model's.
// `source` names the table in the message. Query heads are compared where both are known.
void RequireLayersOf(const ModelConfig& model, const LatencyTable& table, std::string_view source);

}  // namespace kvtune
