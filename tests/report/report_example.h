// A small run as the HTML report shows it, with one of everything.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/report/report_data.h"
#include "tests/support/test_data.h"

namespace kvtune {

inline ScoredPlan ScoredExample(std::string name, std::string_view spec, double bytes, double kl) {
  ScoredPlan plan;
  plan.name = std::move(name);
  plan.plan = ParsePlanSpec(spec, 2, NinePairs());
  plan.cost = {.nominal_bits = 4, .effective_bits = 4.5, .bytes_per_token = bytes};
  plan.calibration.prompts = 4;
  plan.calibration.tokens = 40;
  plan.calibration.kl_mean = kl;
  plan.held_out = HeldOutScore{.score = plan.calibration, .loss_interval = Interval{kl, 4 * kl}};
  plan.held_out->score.kl_mean = 2 * kl;
  return plan;
}

// Two layers and nine pairs; layer 1 lost K4V8 to K8V4. The front is p00 and p01, which is KV2.
inline RunReport ReportExample() {
  RunReport report;
  report.title = "example";
  report.path = "run";
  report.run = TestRun(2);
  report.stages = {{.name = "calibrate",
                    .finished = true,
                    .seconds = 1.5,
                    .started = "2026-01-01T00:00:00Z",
                    .command = "kvtune search",
                    .options = "--sensitivity eo"}};

  SensitivityTable& table = report.sensitivity.emplace();
  table.run = report.run;
  table.pairs = NinePairs();
  for (size_t index = 0; index < 2; ++index) {
    LayerSensitivity& layer = table.layers.emplace_back();
    layer.index = index;
    for (size_t pair = 0; pair < table.pairs.size(); ++pair) {
      PairErrors& errors = layer.errors.emplace_back();
      errors.e_o = 0.01 * static_cast<double>(pair + 1 + 3 * index) / 7;
      errors.bits = 8.5 - static_cast<double>(pair) / 2;
    }
  }
  CandidateSet& candidates = report.candidates.emplace();
  candidates.layers = {{.index = 0, .kept = NinePairs(), .dropped = {}},
                       {.index = 1, .kept = NinePairs(), .dropped = {}}};
  std::erase(candidates.layers[1].kept, kK4V8);
  candidates.layers[1].dropped = {{kK4V8, kK8V4}};
  report.groups = LayerGroups{.run = {},
                              .groups = {{.layers = {0}, .candidates = NinePairs()},
                                         {.layers = {1}, .candidates = NinePairs()}}};

  ParetoFront& front = report.front.emplace();
  front.run = report.run;
  front.plans = {ScoredExample("p00", "KV4;0:K8V2", 400, 0.01),
                 ScoredExample("p01", "KV2", 200, 0.5)};
  front.uniform = {ScoredExample("KV8", "KV8", 800, 0.001), ScoredExample("KV2", "KV2", 200, 0.5)};
  front.reference = ScoredExample("exact", "exact", 1600, 0);
  report.scored_plans = 5;
  report.others = {ScoredExample("", "KV4", 420, 0.04)};
  report.cache_bytes = [](const PrecisionPlan&, int64_t tokens) {
    return 3.0 * static_cast<double>(tokens);
  };
  report.exports = [](const ScoredPlan& plan) {
    PlanExport yaml;
    yaml.format = "yaml";
    yaml.description = "a file";
    yaml.command = "export " + plan.name + " as yaml";
    yaml.content = "0: 8\n1: 4\n";
    PlanExport arguments;
    arguments.format = "arguments";
    arguments.description = "of a program";
    arguments.command = "export " + plan.name + " as arguments";
    arguments.why_not = "too many bits";
    arguments.nearest = "KV4";
    return std::vector<PlanExport>{yaml, arguments};
  };
  return report;
}

}  // namespace kvtune
