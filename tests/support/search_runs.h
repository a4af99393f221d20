// Whole searches over the fake model, each in a run directory of its own.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/file.h"
#include "lib/run/search_step.h"
#include "lib/run/stages.h"
#include "tests/support/fake_run.h"

namespace kvtune {

inline bool Never() { return false; }

inline SearchStepOptions SmallSearch() {
  SearchStepOptions options;
  options.search.population = 8;
  options.search.generations = 4;
  options.search.refinement_evaluations = 12;
  return options;
}

// A plan on a prompt, as the model was asked for it.
using Asked = std::pair<PrecisionPlan, TokenIds>;

struct SearchRuns {
  // The whole chain in the directory `name`, as `kvtune search` runs it.
  SearchOutcome Search(const std::string& name, const SearchStepOptions& options = SmallSearch(),
                       const std::function<bool()>& should_stop = Never) {
    ModelSession model(fake.inputs(), "", fake.loader());
    RunSession session(fake / name, model.run(), {"kvtune", "search"});
    CalibrateStep(session, model, {});
    PruneStep(session, {});
    ClusterStep(session, {});
    return SearchStep(session, model, options, should_stop);
  }

  std::string TextOf(const std::string& name, const std::string& file) const {
    return ReadFile(fake / name / file);
  }
  bool Finished(const std::string& name) const {
    const Json stages = ReadJsonFile(fake / name / "run.json")["stages"];
    return stages.contains("search") && stages["search"]["finished"].get<bool>();
  }
  // Of the calls so far. The exact plan alone is left out: it is run again to know what to compare
  // with.
  std::vector<Asked> AllAsked() const {
    std::vector<Asked> asked;
    for (const FakeCall& call : fake.script.CallsOf(FakeCallKind::kScore)) {
      if (call.plans.size() == 1 && call.plans.front().is_exact()) continue;
      for (const PrecisionPlan& plan : call.plans) {
        for (const TokenIds& prompt : call.prompts) asked.emplace_back(plan, prompt);
      }
    }
    return asked;
  }

  FakeRun fake;
};

}  // namespace kvtune
