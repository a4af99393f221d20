// Scores that need not be made again, because this run has them in one of its logs or another run
// made them.
#pragma once

#include <filesystem>
#include <functional>
#include <span>

#include "lib/calib/model_evaluator.h"
#include "lib/core/pareto_front.h"
#include "lib/core/provenance.h"
#include "lib/run/evaluation_log.h"
#include "search/evaluation_cache.h"

namespace kvtune {

// A cache around the model. It starts from the scores in the log, and appends new ones to the log
// batch by batch.
class LoggedScores {
 public:
  // `before_append` is called before this process adds its first line to the log. REQUIRES: model
  // and prompts outlive it.
  LoggedScores(const std::filesystem::path& log, MeasuredModel& model,
               std::span<const TokenIds> prompts, CostFunction cost,
               std::function<void()> before_append = nullptr);
  LoggedScores(const LoggedScores&) = delete;
  LoggedScores& operator=(const LoggedScores&) = delete;

  EvaluationCache& cache() { return cache_; }
  size_t logged() const { return log_.evaluations().size(); }

 private:
  EvaluationLog log_;
  ModelEvaluator evaluator_;
  CostFunction cost_;
  std::function<void()> before_append_;
  EvaluationCache cache_;
};

// Gives the cache the scores of `file`, a log in the folder of the run that made it. Only scores
// over `prompts` prompts are taken. Throws Error when that run had another model, other prompts,
// another target or other arithmetic than `wanted`, because its scores are then not comparable.
void AddKnownScores(EvaluationCache& cache, const std::filesystem::path& file,
                    const Provenance& wanted, size_t prompts);

}  // namespace kvtune
