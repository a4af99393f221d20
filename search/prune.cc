#include "search/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>

#include "lib/base/error.h"

namespace kvtune {
namespace {

struct Measured {
  PrecisionPair pair;
  double bits = 0;
  double error = 0;
  int64_t nanoseconds = 0;  // 0 where there are no times
};

double NominalBits(PrecisionPair pair) {
  return (FormatOf(pair.key).bits + FormatOf(pair.value).bits) / 2.0;
}

void CheckOptions(const PruneOptions& options) {
  // The condition is written so that a NaN fails it too.
  if (!(options.epsilon >= 0 && options.epsilon < 1)) {
    throw Error(
        fmt::format("pruning: found the epsilon {}, expected 0 <= epsilon < 1", options.epsilon),
        ExitCode::kUsage);
  }
  if (options.min_pairs < 1) {
    throw Error(fmt::format("pruning: found the floor of {} pairs a layer, expected at least 1",
                            options.min_pairs),
                ExitCode::kUsage);
  }
}

std::vector<Measured> MeasuredPairs(const SensitivityTable& table, const LayerSensitivity& layer,
                                    const PruneOptions& options) {
  std::vector<Measured> measured;
  for (size_t i = 0; i < table.pairs.size(); ++i) {
    const PairErrors& errors = layer.errors[i];
    if (options.metric == ScreeningError::kIsolatedKl && !errors.kl) {
      throw Error(fmt::format(
          "pruning by isolated KL: found none for {} in layer {}, expected a table made with "
          "`kvtune calibrate --sensitivity kl`",
          PairLabel(table.pairs[i]), layer.index));
    }
    measured.push_back(
        {table.pairs[i],
         options.bits == BitCount::kEffective ? errors.bits : NominalBits(table.pairs[i]),
         options.metric == ScreeningError::kAttentionOutput ? errors.e_o : *errors.kl,
         options.latency ? options.latency->times->Nanoseconds(layer.index, table.pairs[i]) : 0});
  }
  return measured;
}

bool MakesNeedless(const Measured& other, const Measured& pair, double epsilon) {
  return other.bits <= pair.bits && other.error <= (1 - epsilon) * pair.error &&
         other.nanoseconds <= pair.nanoseconds &&
         (other.bits < pair.bits || other.error < pair.error ||
          other.nanoseconds < pair.nanoseconds);
}

// The best of the pairs that make `pair` needless: the one with the smallest error, then the fewest
// bits, then the least time. It is on the front itself, because a pair that made it needless would
// make `pair` needless too, and would be better.
std::optional<PrecisionPair> DominatorOf(const Measured& pair, const std::vector<Measured>& all,
                                         double epsilon) {
  const Measured* best = nullptr;
  for (const Measured& other : all) {
    if (!MakesNeedless(other, pair, epsilon)) continue;
    if (!best || std::tie(other.error, other.bits, other.nanoseconds) <
                     std::tie(best->error, best->bits, best->nanoseconds)) {
      best = &other;
    }
  }
  if (!best) return std::nullopt;
  return best->pair;
}

LayerCandidates PruneLayer(size_t index, const std::vector<Measured>& measured,
                           const PruneOptions& options) {
  struct Dropped {
    Measured measured;
    PrecisionPair dominated_by;
  };
  std::vector<Measured> kept;
  std::vector<Dropped> dropped;
  for (const Measured& pair : measured) {
    if (const auto dominator = DominatorOf(pair, measured, options.epsilon)) {
      dropped.push_back({pair, *dominator});
    } else {
      kept.push_back(pair);
    }
  }
  std::stable_sort(dropped.begin(), dropped.end(), [](const Dropped& a, const Dropped& b) {
    return a.measured.error < b.measured.error;
  });
  const auto floor = static_cast<size_t>(options.min_pairs);
  const size_t missing = kept.size() < floor ? std::min(floor - kept.size(), dropped.size()) : 0;
  for (size_t i = 0; i < missing; ++i) kept.push_back(dropped[i].measured);
  dropped.erase(dropped.begin(), dropped.begin() + static_cast<ptrdiff_t>(missing));

  // Pairs of equal bits are ordered by their error, so that the result does not depend on the order
  // of the table.
  std::stable_sort(kept.begin(), kept.end(), [](const Measured& a, const Measured& b) {
    return std::tuple(-a.bits, a.error, a.nanoseconds) <
           std::tuple(-b.bits, b.error, b.nanoseconds);
  });
  LayerCandidates layer;
  layer.index = index;
  for (const Measured& pair : kept) layer.kept.push_back(pair.pair);
  for (const Dropped& pair : dropped) {
    layer.dropped.push_back({pair.measured.pair, pair.dominated_by});
  }
  return layer;
}

}  // namespace

CandidateSet Prune(const SensitivityTable& table, const PruneOptions& options) {
  CheckOptions(options);
  CandidateSet candidates;
  candidates.run = table.run;
  candidates.metric = options.metric == ScreeningError::kAttentionOutput ? "e_o" : "kl";
  candidates.bits = options.bits == BitCount::kEffective ? "effective" : "nominal";
  for (const LayerSensitivity& layer : table.layers) {
    candidates.layers.push_back(
        PruneLayer(layer.index, MeasuredPairs(table, layer, options), options));
  }
  return candidates;
}

}  // namespace kvtune
