// The prune stage: for every layer, keep only the precision pairs on the front of (bits, error), or
// of (bits, error, time) in a search by time.
#pragma once

#include <optional>

#include "lib/base/words.h"
#include "lib/core/candidates.h"
#include "lib/core/plan_latency.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

enum class BitCount { kEffective, kNominal };
inline constexpr Word<BitCount> kBitCountWords[] = {{"effective", BitCount::kEffective},
                                                    {"nominal", BitCount::kNominal}};

struct PruneOptions {
  // The error by which pairs are compared. kIsolatedKl needs a table made by `calibrate
  // --sensitivity kl`.
  ScreeningError metric = ScreeningError::kAttentionOutput;
  // The bits by which pairs are compared: kNominal reproduces table 4 of the KVTuner paper,
  // kEffective counts what the target really stores.
  BitCount bits = BitCount::kEffective;
  // A pair is dropped only when another one of at most its bits has at most (1 - epsilon) times its
  // error. At 0, any pair that is worse in neither bits nor error and better in one of them is
  // enough. In [0, 1). Raise it to keep pairs whose errors are so close that their order cannot be
  // trusted.
  double epsilon = 0;
  // Every layer keeps at least this many pairs: if fewer are left, dropped pairs come back,
  // smallest error first. Raise it when a layer is left with a single choice and the search should
  // still be able to vary it.
  int min_pairs = 1;
  // In a search by time a pair is dropped only by one that takes no more time in the layer either,
  // so that of pairs of equal bits a faster one stays.
  std::optional<SearchLatency> latency = std::nullopt;
};

// Prunes as in KVTuner, section 5.1. The cheapest pair and the pair of the smallest error always
// stay. Throws Error when the table lacks the metric, or the times a pair of it, and for options
// out of range (kUsage).
CandidateSet Prune(const SensitivityTable& table, const PruneOptions& options);

}  // namespace kvtune
