#include "apps/kvtune/check_init.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "apps/kvtune/plan_argument.h"
#include "lib/base/error.h"
#include "lib/gate/gate_config.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// An absolute limit is the last line of defence; the baseline is the sharp one.
constexpr double kRoom = 2;

// A limit that people can read.
double Rounded(double value) { return std::atof(fmt::format("{:.2g}", value).c_str()); }

Limits LimitsOf(const ScoredPlan& plan) {
  const PlanScore& score = plan.calibration;
  Limits limits;
  limits.absolute[Metric::kKlMean] = Rounded(kRoom * score.kl_mean);
  limits.absolute[Metric::kKlP999] =
      std::max(Rounded(kRoom * score.kl_p999), limits.absolute[Metric::kKlMean]);
  limits.absolute[Metric::kTop1Agreement] =
      std::max(0.0, 1 - Rounded(kRoom * (1 - score.top1_agreement)));
  limits.absolute[Metric::kBytesPerToken] = plan.cost.bytes_per_token;
  return limits;
}

std::string SpecOf(const ScoredPlan& plan, const Target& target, const std::string& text) {
  std::string spec = PlanSpec(plan.plan);
  if (ParsePlanSpec(spec, plan.plan.layers.size(), target.shape.pairs) == plan.plan) return spec;
  throw Error(
      fmt::format("writing a config for {}: found no spec that says the plan under the target {}, "
                  "expected one (export the plan and name its file)",
                  text, target.name));
}

}  // namespace

void WriteGateConfig(const std::string& run_and_name, const fs::path& out) {
  const size_t colon = run_and_name.rfind(':');
  if (colon == std::string::npos || out.empty()) {
    throw Error(fmt::format("kvtune check --init: found \"{}\"{}, expected RUN:NAME and --out FILE",
                            run_and_name, out.empty() ? " without --out" : ""),
                ExitCode::kUsage);
  }
  if (fs::exists(out)) {
    throw Error(fmt::format("writing the config {}: found it there already, expected a new file",
                            out.string()));
  }
  const fs::path folder = run_and_name.substr(0, colon);
  const ParetoFront front = ReadFront(folder);
  const Provenance& run = front.run;
  const std::string plan_name = run_and_name.substr(colon + 1);
  const ScoredPlan& plan = RequirePlan(front, plan_name, folder);
  if (!fs::exists(run.model)) {
    throw Error(
        fmt::format("writing the config {}: found no model {}, expected it where the run was made",
                    out.string(), run.model));
  }
  GateConfig config;
  config.name = out.stem().string();
  config.file = out;
  config.model = run.model;
  config.model_hash = run.model_hash;
  config.target = run.target;
  config.plan = SpecOf(plan, FindTarget(run.target), run_and_name);
  if (run.prompts != std::vector<std::string>{"bundled"}) {
    config.prompts.assign(run.prompts.begin(), run.prompts.end());
  }
  config.prompts_hash = run.prompts_hash;
  // The run's prompts were the first so many of the same shuffle, and have been cut already.
  config.max_prompts = run.prompt_count;
  config.max_tokens = run.token_count;
  config.long_prompts = "cut";
  config.seed = run.seed;
  config.context = run.context;
  config.prefill = run.prefill;
  config.limits = LimitsOf(plan);
  const Json json = ToJson(config);
  GateConfigFromJson(json, out);  // what is written can be read
  WriteJsonFileAtomically(out, json);
}

}  // namespace kvtune
