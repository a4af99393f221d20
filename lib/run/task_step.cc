#include "lib/run/task_step.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "lib/run/sample_log.h"
#include "lib/run/task_scorer.h"

namespace kvtune {

bool TaskStep(const RunSession& session, ModelSession& model, const PreparedTask& task,
              ParetoFront& front, const std::function<bool()>& should_stop) {
  task.RequireApartFrom(model.prompts().calibration.prompts, "calibration");
  task.RequireApartFrom(model.prompts().held_out, "held-out");
  SampleLog log(session.directory().answers(), EvaluationHash(task, session.run()));
  TaskScorer scorer(model.model(), task, &log);
  const std::vector<ScoredPlan*> scored = AllPlans(front);
  std::vector<PrecisionPlan> plans;
  for (const ScoredPlan* plan : scored) plans.push_back(plan->plan);
  const auto results = scorer.Score(plans, should_stop);
  if (!results) return false;
  const auto exact = std::ranges::find(plans, front.reference.plan) - plans.begin();
  std::vector<SampleLine> lines;
  for (size_t i = 0; i < plans.size(); ++i) {
    scored[i]->accuracy =
        SummarizeAccuracy(task.task(), (*results)[i], (*results)[static_cast<size_t>(exact)]);
    // A uniform plan may be on the front too.
    if (std::ranges::find(plans, plans[i]) - plans.begin() < static_cast<ptrdiff_t>(i)) continue;
    const auto of_plan = scorer.LinesOf(scored[i]->name, plans[i], (*results)[i]);
    lines.insert(lines.end(), of_plan.begin(), of_plan.end());
  }
  model.RequireUnchanged();
  log.Finish(lines);
  WriteJsonFileAtomically(session.directory().front(), ToJson(front));
  return true;
}

}  // namespace kvtune
