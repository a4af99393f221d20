// Tables of times that tests search by.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/core/latency_table.h"
#include "tests/support/test_data.h"

namespace kvtune {

// What a layer takes under a pair: K2V8 is faster than K8V2 of the same bytes, and few bits are not
// always faster, so that bytes and time do not say the same.
inline double FakeMilliseconds(PrecisionPair pair) {
  const auto of = [](KvFormatId id, double exact, double eight, double four, double two) {
    const int bits = FormatOf(id).is_exact() ? 16 : FormatOf(id).bits;
    return bits == 16 ? exact : bits == 8 ? eight : bits == 4 ? four : two;
  };
  return of(pair.key, 4, 2.5, 1.25, 1) + of(pair.value, 4, 2, 1.5, 1.75);
}

// Every pair of KVTuner and the exact one, in layers of two KV heads of 64 channels.
inline LatencyTable LatencyOf(const std::vector<DecodeSetting>& settings, size_t layer_count) {
  LatencyTable table{.device = "a device",
                     .model = "a model",
                     .copy_bytes_per_second = 4e12,
                     .layers = std::vector<LayerShape>(layer_count, {2, 64, 64, 0}),
                     .settings = {}};
  std::vector<PrecisionPair> pairs = NinePairs();
  pairs.push_back(kExactPair);
  for (const DecodeSetting& one : settings) {
    SettingLatency& setting = table.settings.emplace_back();
    setting.setting = one;
    for (const PrecisionPair pair : pairs) {
      const double time = FakeMilliseconds(pair) * static_cast<double>(one.batch);
      setting.pairs.push_back({0, pair, {time, time, time}, 1});
    }
  }
  return table;
}

}  // namespace kvtune
