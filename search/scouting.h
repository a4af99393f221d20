// What single layers lose, which is measured before plans of many layers are proposed.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "lib/core/precision_plan.h"
#include "lib/core/sensitivity.h"
#include "search/evaluation_cache.h"
#include "search/surrogate.h"

namespace kvtune {

// Up to so many plans of a single quantized layer, every pair is scored in every layer.
inline constexpr size_t kMostScoutedPlans = 256;

// Isolated losses: the mean forward KL with one layer quantized and all others exact. They are
// taken from the table where it has them (`calibrate --sensitivity kl`), else `scout` scores them,
// for which a part of the prompts is enough. Losses under 1e-9, which are rounding, become 1e-9.
//
// Where all pairs in all layers are more than kMostScoutedPlans plans, a layer's formats for keys
// are scored with the value format of the smallest error in that layer, its formats for values with
// such a key format, and what another pair loses is the sum of both less what the best of both
// lose, and no less than either. The errors of keys and values are independent, so that the KL,
// which is of second order in them, adds.
//
// REQUIRES: scout and table are of the same model. `should_stop` is asked before every batch; when
// it says true, nothing is returned.
LayerLosses MeasureLayerLosses(const SensitivityTable& table, EvaluationCache& scout,
                               const std::function<bool()>& should_stop = nullptr);

// About how many plans MeasureLayerLosses scores. It is exact where all pairs are scored, and
// where every format for keys goes with every one for values.
size_t ScoutedPlanCount(size_t layers, std::span<const PrecisionPair> pairs);

}  // namespace kvtune
