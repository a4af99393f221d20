// Splits the scoring of plans on prompts into leases of about equal work. Splitting by prompts
// costs nothing. Splitting plans costs the work that they share, so it comes second, and plans with
// the same first layers stay together.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/generation.h"
#include "lib/core/precision_plan.h"
#include "lib/core/token_ids.h"

namespace kvtune {

// Indices of plans and prompts that are scored together.
struct ScoreLease {
  std::vector<size_t> plans;
  std::vector<size_t> prompts;

  friend bool operator==(const ScoreLease&, const ScoreLease&) = default;
};

// The items at these indices.
template <typename Item>
std::vector<Item> Chosen(std::span<const Item> items, std::span<const size_t> indices) {
  std::vector<Item> chosen;
  for (const size_t i : indices) chosen.push_back(items[i]);
  return chosen;
}

// Returns at least `wanted` leases where there are so many plans on prompts, in an order that
// follows from the arguments alone. Every plan on every prompt is in exactly one of them.
// REQUIRES: wanted > 0; neither plans nor prompts are empty.
std::vector<ScoreLease> SplitScoring(std::span<const PrecisionPlan> plans,
                                     std::span<const TokenIds> prompts, size_t wanted);

// Cuts each of the last `count` leases into about four, by their prompts and then by their plans.
// Processes take leases in their order, so that they end within the time of a small one.
std::vector<ScoreLease> WithSmallLast(std::vector<ScoreLease> leases,
                                      std::span<const PrecisionPlan> plans,
                                      std::span<const TokenIds> prompts, size_t count);

// Cuts the rows of a request, in their order, into `wanted` parts of about equal work, or as many
// as there are rows. Returns the rows of each part. REQUIRES: wanted > 0; there is a row.
std::vector<std::vector<size_t>> SplitRows(const GenerationRequest& request, size_t wanted);

// How many leases so many rows are split into. A step reads the weights for all rows of a batch, so
// that a lease has enough rows to be worth it: one for each process is the least, where there are
// so many rows. REQUIRES: processes > 0.
size_t WantedRowLeases(size_t rows, bool on_gpu, size_t processes);

// The work of scoring plans on prompts: tokens times the layers that they go through, where plans
// share those that they have in common at their beginning.
double ScoringWork(std::span<const PrecisionPlan> plans, std::span<const TokenIds> prompts);

// How many leases a job of this work is split into for so many processes: as many as give each
// about `seconds`, in a multiple of the processes, so that all of them end together.
// `seconds_per_work` is 0 while it is not known. REQUIRES: processes > 0.
size_t WantedLeases(double work, double seconds_per_work, double seconds, size_t processes);

}  // namespace kvtune
