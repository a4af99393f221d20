// The answers to a task as scores of plans, so that a search can look for the plans that answer
// most items right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/plan_evaluator.h"
#include "lib/run/prepared_task.h"
#include "lib/run/task_scorer.h"

namespace kvtune {

// The items that a search may look at, and those that its plans are tested on. None is in both,
// because plans that were chosen on some items do well on these by chance too.
struct ItemSplit {
  std::vector<size_t> search;  // in an order that was drawn, so that any range is a random sample
  std::vector<size_t> test;    // ascending
};

// Draws `search_items` of the items; 0 stands for half of them, at most 200. Throws Error (kUsage)
// where that leaves none to search on or none to test on.
ItemSplit SplitItems(size_t item_count, int64_t search_items, uint64_t seed);

// A task with the items that it is searched and tested on.
struct SplitTask {
  const PreparedTask& task;
  ItemSplit items;
};

// Scores a plan on an item by what it gets wrong: PromptScore::kl_sum, which a search minimizes, is
// here 1 minus the item's verdict, and a prompt is an item of one token. Half an item is added to
// the sum over all, so that a plan that gets none wrong has a loss whose logarithm is finite: the
// search works with logarithms. These scores are for the search alone, and no file has them.
class ItemEvaluator : public PlanEvaluator {
 public:
  // REQUIRES: scorer and items outlive the evaluator; there is an item.
  ItemEvaluator(TaskScorer& scorer, std::span<const size_t> items, size_t layer_count)
      : scorer_(scorer), items_(items), layer_count_(layer_count) {}

  size_t layer_count() const override { return layer_count_; }
  size_t prompt_count() const override { return items_.size(); }
  std::vector<std::vector<PromptScore>> ScorePrompts(std::span<const PrecisionPlan> plans,
                                                     PromptRange range) override;

  // Of all answers that were asked for, whether they were generated now or kept from before.
  int64_t generated_tokens() const { return generated_tokens_; }

 private:
  TaskScorer& scorer_;
  std::span<const size_t> items_;
  size_t layer_count_;
  int64_t generated_tokens_ = 0;
};

}  // namespace kvtune
