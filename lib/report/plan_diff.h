// What is different between two plans of a run: layers, bytes and loss.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lib/core/pareto_front.h"

namespace kvtune {

// Neighbouring layers in which both plans have one pair each, and not the same.
struct LayerDifference {
  size_t first = 0, last = 0;
  PrecisionPair a, b;
};
// REQUIRES: both plans have as many layers.
std::vector<LayerDifference> LayerDifferences(const PrecisionPlan& a, const PrecisionPlan& b);

// The layers that differ as a table, and sentences on bytes and on the loss of `b` over that of
// `a`, paired prompt by prompt where both have their single prompts. `width` is as in
// TextTable::Render.
std::string PlanDiffText(const ScoredPlan& a, const ScoredPlan& b, double noise_floor,
                         size_t width);

// The same as a document for programs: "a", "b", "layers", "bytes_ratio" and "comparison" (of `b`
// with `a`; null without single prompts).
Json PlanDiffToJson(const ScoredPlan& a, const ScoredPlan& b, double noise_floor);

}  // namespace kvtune
