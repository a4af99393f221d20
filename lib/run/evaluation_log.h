// The log evaluations.jsonl: every scored plan on a line of its own, in the order of scoring.
//
// An interrupted search loses at most the batch that was being scored. Resuming inserts the logged
// scores into an EvaluationCache and searches again with the same seed: the plans come in the same
// order, so the answer is the same byte for byte. That needs whole batches: the last bits of a
// score may depend on the plans that were scored together with it. So what is left of a
// half-written batch is dropped, and all plans of the batch are scored again together.
//
// A line is {"spec", "layers", "nominal_bits", "effective_bits", "bytes_per_token", "calibration",
// "expected_kl", "prompt_tokens", "prompt_kl", "batch", "batch_size", "checksum"}; the checksum is
// HashOf the line up to it. Two other forms were rejected: one file per batch (that is hundreds of
// files) and a database (it cannot be read with a pager).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

struct LoggedEvaluation {
  PrecisionPlan plan;
  PlanCost cost;
  PlanScore score;    // per_prompt has tokens and kl_sum only
  int64_t batch = 0;  // counted from 0
};

struct LogContent {
  std::vector<LoggedEvaluation> evaluations;  // of whole batches only
  int64_t batch_count = 0;
  size_t intact_bytes = 0;  // where the last whole batch ends
};

// Reads a log; a file that does not exist counts as an empty log. A torn or corrupt last line is
// what an interruption leaves, so it is left out, with the batch that it belongs to. Throws Error
// with the line number for a corrupt line before the last, for batches out of order and for plans
// of another layer count.
LogContent ReadEvaluationLog(const std::filesystem::path& path, size_t layer_count);
// Does the same with the content of a log, which messages call `source`.
LogContent ParseEvaluationLog(std::string_view text, const std::string& source, size_t layer_count);

class EvaluationLog {
 public:
  // Reads the log that is there, and cuts off what an interruption left after the last whole batch.
  EvaluationLog(std::filesystem::path path, size_t layer_count);

  // The evaluations that were in the log when it was opened.
  const std::vector<LoggedEvaluation>& evaluations() const { return content_.evaluations; }

  // Adds one batch with a single write, so that an interruption leaves at most one incomplete
  // batch. REQUIRES: as many scores as plans.
  void Append(std::span<const PrecisionPlan> plans, std::span<const PlanScore> scores,
              const CostFunction& cost);

 private:
  std::filesystem::path path_;
  LogContent content_;
  int64_t next_batch_ = 0;
};

}  // namespace kvtune
