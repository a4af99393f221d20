#include "lib/run/task_step.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "lib/run/sample_log.h"
#include "lib/run/task_scorer.h"

namespace kvtune {

bool TaskStep(const RunSession& session, ModelSession& model, const SplitTask& split,
              ParetoFront& front, const std::function<bool()>& should_stop) {
  const PreparedTask& task = split.task;
  task.RequireApartFrom(model.prompts().calibration.prompts, "calibration");
  task.RequireApartFrom(model.prompts().held_out, "held-out");
  SampleLog log(session.directory().answers(), EvaluationHash(task, session.run()));
  TaskScorer scorer(model.model(), task, &log);
  const std::vector<ScoredPlan*> scored = AllPlans(front);
  std::vector<PrecisionPlan> plans;
  for (const ScoredPlan* plan : scored) plans.push_back(plan->plan);
  const auto exact =
      static_cast<size_t>(std::ranges::find(plans, front.reference.plan) - plans.begin());
  const bool was_searched = !split.items.search.empty();
  if (was_searched) {
    const auto searched = scorer.ScoreItems(plans, split.items.search, should_stop);
    if (!searched) return false;
    for (size_t i = 0; i < plans.size(); ++i) {
      scored[i]->search_accuracy =
          SummarizeAccuracy(task.task(), (*searched)[i], (*searched)[exact]);
    }
  }
  const auto results = scorer.ScoreItems(plans, split.items.test, should_stop);
  if (!results) return false;
  std::vector<SampleLine> lines;
  for (size_t i = 0; i < plans.size(); ++i) {
    scored[i]->accuracy = SummarizeAccuracy(task.task(), (*results)[i], (*results)[exact]);
    // A uniform plan may be on the front too.
    if (was_searched ||
        std::ranges::find(plans, plans[i]) - plans.begin() < static_cast<ptrdiff_t>(i))
      continue;
    const auto of_plan = scorer.LinesOf(scored[i]->name, plans[i], (*results)[i]);
    lines.insert(lines.end(), of_plan.begin(), of_plan.end());
  }
  model.RequireUnchanged();
  // The log of a search by answers has more than these: all that led to the front.
  if (was_searched) {
    log.Sort();
  } else {
    log.Finish(lines);
  }
  WriteJsonFileAtomically(session.directory().front(), ToJson(front));
  return true;
}

}  // namespace kvtune
