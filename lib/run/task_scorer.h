// Scores plans by what the model writes under them: all plans and items in one request.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/core/accuracy_score.h"
#include "lib/core/measured_model.h"
#include "lib/core/provenance.h"
#include "lib/run/prepared_task.h"
#include "lib/run/sample_log.h"
#include "lib/tasks/grading.h"

namespace kvtune {

// One item under one plan.
struct ItemResult {
  GeneratedText generated;  // multiple choice: the likeliest choice, and 0 tokens
  Grade grade;
};

// A hash of everything that an answer depends on but its plan and item.
std::string EvaluationHash(const PreparedTask& task, const Provenance& run);

class TaskScorer {
 public:
  // REQUIRES: model and task outlive the scorer; `log`, which may be null, too.
  TaskScorer(MeasuredModel& model, const PreparedTask& task, SampleLog* log);

  // Returns the results of each plan, by item. What the scorer or the log knows already is not
  // generated again. `should_stop` (may be empty) is asked whenever a sequence ends; when it says
  // true, the sequences that have ended are in the log, and nothing is returned.
  // Throws Error.
  std::optional<std::vector<std::vector<ItemResult>>> Score(
      std::span<const PrecisionPlan> plans, const std::function<bool()>& should_stop);

  // The same for some of the items, in their order.
  std::optional<std::vector<std::vector<ItemResult>>> ScoreItems(
      std::span<const PrecisionPlan> plans, std::span<const size_t> items,
      const std::function<bool()>& should_stop);

  // The lines of a plan in the file of samples, by item.
  std::vector<SampleLine> LinesOf(const std::string& name, const PrecisionPlan& plan,
                                  std::span<const ItemResult> results) const;

 private:
  bool Generate(const std::vector<PrecisionPlan>& plans, std::span<const size_t> items,
                const std::function<bool()>& should_stop);
  void ScoreChoices(const std::vector<PrecisionPlan>& plans, std::span<const size_t> items);
  void Keep(const PrecisionPlan& plan, size_t item, ItemResult result);
  bool Knows(const PrecisionPlan& plan, size_t item) const;
  SampleLine LineOf(const std::string& name, const PrecisionPlan& plan, size_t item,
                    const ItemResult& result) const;
  ItemResult Judged(size_t item, GeneratedText generated) const;

  MeasuredModel& model_;
  const PreparedTask& task_;
  SampleLog* log_;
  std::optional<Grader> grader_;  // not for multiple choice
  std::map<PrecisionPlan, std::vector<std::optional<ItemResult>>> known_;  // by item
};

// The accuracy of a plan, paired with that of the exact plan on the same items.
AccuracyScore SummarizeAccuracy(const Task& task, std::span<const ItemResult> results,
                                std::span<const ItemResult> exact);

}  // namespace kvtune
