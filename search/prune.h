// The prune stage: per layer, keep the precision pairs on the front of (bits, error).
#pragma once

#include "lib/base/words.h"
#include "lib/core/candidates.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

enum class BitCount { kEffective, kNominal };
inline constexpr Word<BitCount> kBitCountWords[] = {{"effective", BitCount::kEffective},
                                                    {"nominal", BitCount::kNominal}};

struct PruneOptions {
  // Which error decides. kIsolatedKl needs `calibrate --sensitivity kl`.
  ScreeningError metric = ScreeningError::kAttentionOutput;
  // kNominal gives the paper's table 4, kEffective what the target stores.
  BitCount bits = BitCount::kEffective;
  // A pair is dropped only when another one of at most its bits has at most (1 - epsilon) times its
  // error. 0: any pair that is nowhere worse and somewhere better. In [0, 1); raise to keep pairs
  // whose errors are too close to trust their order.
  double epsilon = 0;
  // Keep at least this many pairs a layer: dropped pairs come back, smallest error first. Raise
  // when a layer is left with a single choice and the search should still see it.
  int min_pairs = 1;
};

// KVTuner, section 5.1. The cheapest pair and the pair of the smallest error always stay.
// Throws Error when the table lacks the metric, and for options out of range (kUsage).
CandidateSet Prune(const SensitivityTable& table, const PruneOptions& options);

}  // namespace kvtune
