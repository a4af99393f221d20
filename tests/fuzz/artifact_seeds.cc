#include <nlohmann/json.hpp>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/gate/baseline.h"
#include "lib/gate/gate_config.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/run_session.h"
#include "search/cluster.h"
#include "search/prune.h"
#include "tests/fuzz/seeds.h"
#include "tests/gate/gate_test_data.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune::fuzz {
namespace {

void AddStages(Seeds& seeds) {
  Random random(11);
  for (const size_t layers : {1u, 2u, 5u}) {
    const SensitivityTable table = RandomTable(random, layers);
    const CandidateSet candidates = Prune(table, {});
    seeds.Add("sensitivity", DumpJson(ToJson(table)));
    seeds.Add("candidates", DumpJson(ToJson(candidates)));
    seeds.Add("groups", DumpJson(ToJson(Cluster(candidates, table, {}))));
  }
}

std::vector<PrecisionPlan> SomePlans() {
  return {{{kKV8, kKV4, kK8V4}}, {{kKV4, kKV4, kK4V2}}, {{kKV2, kK8V4, kKV2}}};
}

ScoredPlan Scored(std::string name, const PrecisionPlan& plan, const FakeEvaluator& fake) {
  const PlanScore score = fake.ScoreOf(plan);
  return {.name = std::move(name),
          .plan = plan,
          .cost = FakeCost(plan),
          .calibration = score,
          .held_out = HeldOutScore{score, Interval{0.5 * score.kl_mean, 2 * score.kl_mean}},
          .calibration_interval = Interval{0.9 * score.kl_mean, 1.1 * score.kl_mean}};
}

void AddFronts(Seeds& seeds) {
  const FakeEvaluator fake({3, 2, 1});
  ParetoFront front;
  front.run = TestRun(3);
  front.run.noise_floor = 1e-9;
  for (const PrecisionPlan& plan : SomePlans()) {
    front.plans.push_back(Scored("p0" + std::to_string(front.plans.size()), plan, fake));
  }
  front.uniform = {Scored("KV8", PrecisionPlan::Uniform(kKV8, 3), fake),
                   Scored("KV4", PrecisionPlan::Uniform(kKV4, 3), fake)};
  front.reference = Scored("exact", PrecisionPlan::Uniform(kExactPair, 3), fake);
  seeds.Add("front", DumpJson(ToJson(front)));
  front.search = SearchSummary{.algorithm = "nsga2",
                               .exhaustive = false,
                               .stop_reason = "2 generations are done",
                               .distinct_plans = 12,
                               .prompt_scores = 48,
                               .prompt_scores_saved = 4,
                               .surrogate_hypervolume = 12.5,
                               .generations = {{SearchStage::kUniformPlans, 0, 9, 0, 5, 10.5},
                                               {SearchStage::kGroupedSearch, 1, 12, 1, 6, 11}}};
  for (ScoredPlan& plan : front.plans) plan.cost.padded_bytes_per_token = 999;
  front.uniform.pop_back();
  seeds.Add("front", DumpJson(ToJson(front)));
}

void AddRuns(Seeds& seeds) {
  const TemporaryDirectory folder;
  {
    RunSession session(folder / "run", TestRun(3), {"kvtune", "prune"});
    session.Start(Stage::kCalibrate, {{"--sensitivity", "eo"}});
    session.Finish(Stage::kCalibrate);
    session.Start(Stage::kPrune, {{"--epsilon", 0.1}, {"--bits", "effective"}});
    session.Save();
    seeds.Add("run_record", ReadFile(session.directory().run()));
  }
  const FakeEvaluator fake({3, 2, 1});
  EvaluationLog log(folder / "evaluations.jsonl", 3);
  std::vector<PlanScore> scores;
  const std::vector<PrecisionPlan> plans = SomePlans();
  for (const PrecisionPlan& plan : plans) scores.push_back(fake.ScoreOf(plan));
  scores.back().expected_loss = 0.25;
  log.Append(plans, scores, FakeCost);
  log.Append(std::span(plans).first(1), std::span(scores).first(1), FakeCost);
  const std::string text = ReadFile(folder / "evaluations.jsonl");
  seeds.Add("evaluation_log", {0, 2}, text);
  seeds.Add("evaluation_log", {0, 2}, text.substr(0, text.size() - 40));
  // Without checksums, which the fuzzer adds.
  std::string open;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    open += line.substr(0, line.rfind(",\"checksum\"")) + "\n";
    begin = end + 1;
  }
  seeds.Add("evaluation_log", {1, 2}, open);
}

void AddGate(Seeds& seeds) {
  const TemporaryDirectory folder;
  GateConfig config;
  config.name = "demo";
  config.file = "configs/demo.json";
  config.model = "model";
  config.model_hash = "xxh3:1";
  config.target = "kvtuner";
  config.plan = "KV4;0:KV8";
  config.prompts_hash = "xxh3:2";
  config.limits = {.absolute = {{Metric::kKlMean, 0.5}, {Metric::kKlP999, 2}},
                   .relative = {{Metric::kBytesPerToken, 0.1}},
                   .tolerance = {{Metric::kTop1Agreement, 0.01}}};
  seeds.Add("gate_config", DumpJson(ToJson(config)));
  config.prompts.files = {"configs/p.jsonl"};
  config.prompts.max_prompts = 7;
  config.task = GateTask{.file = "configs/t.json",
                         .overrides = {.limit = 50, .fewshot = 2},
                         .apply_chat_template = true,
                         .against = AnswerReference::kExact};
  config.limits.absolute[Metric::kAccuracy] = 0.8;
  seeds.Add("gate_config", DumpJson(ToJson(config)));

  for (const size_t prompts : {1u, 6u}) {
    Provenance run = TestRun(2);
    run.noise_floor = 1e-9;
    Baseline baseline{.name = "n" + std::to_string(prompts),
                      .run = std::move(run),
                      .plan = PrecisionPlan::Uniform(kKV4, 2),
                      .measured = EvenMeasurement(std::vector<float>(prompts, 0.25F))};
    if (prompts > 1) {
      baseline.measured.answers = {1, 0, 1};
      baseline.task_hash = "xxh3:0";
    }
    WriteBaseline(folder / "b.json", baseline);
    seeds.Add("baseline", ReadFile(folder / "b.json"));
  }
  const std::string passes = R"([{"bytes": 4, "scored": 2, "nll_sum": 1.5, "top1_matches": 1}, )"
                             R"({"bytes": 3, "scored": 1, "nll_sum": 0.5, "top1_matches": 0}])";
  seeds.Add("exact_passes", {1, 2}, passes + "\n\1\2\3\4\5\6\7");
  seeds.Add("exact_passes", {0, 2},
            R"({"key": {}, "checksum": "", "prompts": []})"
            "\n");
}

}  // namespace

void AddArtifactSeeds(Seeds& seeds) {
  SetLogLevel(LogLevel::kQuiet);
  AddStages(seeds);
  AddFronts(seeds);
  AddRuns(seeds);
  AddGate(seeds);
}

}  // namespace kvtune::fuzz
