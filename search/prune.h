// The prune stage: per layer, keep the precision pairs on the front of (bits, error).
#pragma once

#include "lib/core/candidates.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

enum class PruneMetric { kAttentionOutput, kIsolatedKl };
enum class BitCount { kEffective, kNominal };

struct PruneOptions {
  // Which error decides. kIsolatedKl needs `calibrate --sensitivity kl`.
  PruneMetric metric = PruneMetric::kAttentionOutput;
  // kNominal gives the paper's table 4, kEffective what the target stores.
  BitCount bits = BitCount::kEffective;
  // A pair is dropped only when another one of at most its bits has an error below
  // (1 - epsilon) times its own. 0: any strictly better one. Raise to keep near-ties.
  double epsilon = 0;
  // Keep at least this many pairs a layer: dropped pairs come back, smallest error first.
  int min_pairs = 1;
};

// KVTuner, section 5.1. Throws Error when the table lacks the metric.
CandidateSet Prune(const SensitivityTable& table, const PruneOptions& options);

}  // namespace kvtune
