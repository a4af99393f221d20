// Scores that are made once: by this run, on record in one of its logs, or by another run.
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

// A cache around the model whose scores are logged batch by batch, starting from what is logged.
class LoggedScores {
 public:
  // `before_append` runs before the first line that this process adds. REQUIRES: model and prompts
  // outlive it.
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

// Gives the cache the scores of `file`, a log in the folder of the run that made it. Only those
// over `prompts` prompts count. Throws Error when that run's model, prompts, target or arithmetic
// were others.
void AddKnownScores(EvaluationCache& cache, const std::filesystem::path& file,
                    const Provenance& wanted, size_t prompts);

}  // namespace kvtune
