#include "lib/gate/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numbers>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "tests/support/fake_model.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

// One model of three layers on eight prompts, whatever the config says.
class FakeGateModels : public GateModels {
 public:
  FakeGateModels() {
    script.losses = {{3.1, 0.7, 1.9}};
    for (int32_t number = 0; number < 8; ++number) {
      prompts.prompts.push_back(TokenIds(static_cast<size_t>(9 + number), number));
    }
    CountAndHash(prompts);
  }

  PrecisionPlan PlanOf(const GateConfig&) override { return plan; }
  std::string HashOf(const GateConfig&) override { return hash; }
  PromptSet PromptsOf(const GateConfig&) override { return prompts; }
  Provenance RunOf(const GateConfig& config, const PromptSet&) override {
    Provenance run = TestRun(3);
    run.model_hash = hash;
    run.prompts_hash = config.prompts_hash;
    run.dtype = script.data_type_name;
    return run;
  }
  MeasuredModel& ModelOf(const GateConfig&, const PromptSet&) override {
    ++loads;
    return model;
  }
  void RequireUnchanged(const GateConfig&) override {
    if (changes) throw Error("reading the model: found other content");
  }
  TaskItems TaskOf(const GateConfig& config, const PromptSet&) override {
    return {.hash = "items of " + config.task->file.filename().string(), .count = items};
  }
  // Items 0 and 1 are wrong whatever the plan; a layer at two bits loses ten more.
  std::vector<std::vector<char>> AnswersOf(const GateConfig&,
                                           std::span<const PrecisionPlan> plans) override {
    answered.emplace_back(plans.begin(), plans.end());
    std::vector<std::vector<char>> answers;
    for (const PrecisionPlan& of : plans) {
      const bool is_low = std::ranges::count(of.layers, kKV2) > 0;
      std::vector<char>& right = answers.emplace_back(items, 1);
      std::fill_n(right.begin(), is_low ? 12 : 2, 0);
    }
    return answers;
  }
  double NoiseFloorOf(const GateConfig&, const PromptSet& set) override {
    return model.NoiseFloor(set.prompts);
  }
  CostFunction CostFor(const GateConfig&) override { return FakeCost; }

  PrecisionPlan plan = PrecisionPlan::Uniform(kKV8, 3);
  std::string hash = "hash of the model";
  PromptSet prompts;
  FakeModelScript script;
  FakeModel model{FakeConfig(3), script};
  size_t items = 40;
  std::vector<std::vector<PrecisionPlan>> answered;  // the plans of each call
  int loads = 0;
  bool changes = false;  // while it is scored
};

struct Checked {
  Checked() { SetLogLevel(LogLevel::kQuiet); }

  // A config file of this name in the folder.
  fs::path Config(const std::string& file, const std::string& name = "small") {
    Json json = {{"schema_version", 1},       {"name", name},
                 {"model", "model"},          {"model_hash", "hash of the model"},
                 {"target", "kvtuner"},       {"plan", "KV8"},
                 {"prompts", {"p.jsonl"}},    {"prompts_hash", "p"},
                 {"limits", {{"kl_mean", 1}}}};
    WriteJsonFileAtomically(folder / file, json);
    return folder / file;
  }
  void SetLimit(const fs::path& config, const std::string& metric, double limit) {
    Json json = ReadJsonFile(config);
    json["limits"][metric] = limit;
    WriteJsonFileAtomically(config, json);
  }
  void SetTask(const fs::path& config, const std::string& against = "baseline",
               const std::string& file = "sums.json") {
    Json json = ReadJsonFile(config);
    json["task"] = {{"file", file}, {"against", against}};
    // The losses of a plan that loses answers are let pass.
    json["limits"]["relative"] = {{"kl_mean", 1e9}, {"kl_p999", 1e9}};
    json["limits"]["kl_mean"] = 1e9;
    json["tolerance"] = {{"top1_agreement", 1}, {"delta_nll", 1e9}};
    WriteJsonFileAtomically(config, json);
  }
  GateResult Run(const fs::path& config, BaselineUse use = BaselineUse::kCompare,
                 ModelChange change = ModelChange::kRefuse) {
    return Gate(models, {.baseline = {}, .use = use, .model_change = change}).Run(config);
  }
  GateResult Update(const fs::path& config) { return Run(config, BaselineUse::kUpdate); }
  std::string BaselineText() const { return ReadFile(folder / "baselines" / "small.json"); }

  TemporaryDirectory folder;
  FakeGateModels models;
};

Outcome OutcomeOf(const GateResult& result, Metric metric) {
  for (const MetricVerdict& verdict : result.metrics) {
    if (verdict.metric == metric) return verdict.outcome;
  }
  ADD_FAILURE() << "no verdict on " << MetricName(metric);
  return Outcome::kSame;
}

TEST(Gate, PassesWhatItJustAccepted) {
  Checked check;
  const fs::path config = check.Config("small.json");
  const GateResult updated = check.Update(config);
  EXPECT_EQ(updated.status, GateStatus::kPassed) << updated.error;
  EXPECT_THAT(updated.notes, ElementsAre(StartsWith("new baseline in ")));
  const Baseline baseline = ReadBaselines(check.folder / "baselines" / "small.json").at(0);
  EXPECT_EQ(baseline.plan, check.models.plan);
  EXPECT_EQ(baseline.run.noise_floor, 1e-9);
  const GateResult compared = check.Run(config);
  EXPECT_EQ(compared.status, GateStatus::kPassed) << compared.error;
  EXPECT_EQ(compared.name, "small");
  EXPECT_EQ(compared.file, config.string());
  EXPECT_THAT(compared.notes, IsEmpty());
  EXPECT_FALSE(compared.blame);
  EXPECT_THAT(compared.metrics, SizeIs(5));
  for (const MetricVerdict& verdict : compared.metrics) {
    EXPECT_EQ(verdict.outcome, Outcome::kSame) << MetricName(verdict.metric);
  }
  EXPECT_THAT(check.models.answered, IsEmpty());
}

TEST(Gate, AnswersAreComparedWithThoseOfTheBaseline) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.SetTask(config);
  EXPECT_EQ(check.Update(config).status, GateStatus::kPassed);
  EXPECT_THAT(check.BaselineText(), AllOf(HasSubstr("\"task_hash\": \"items of sums.json\""),
                                          HasSubstr("\"answers\": \"0011111")));
  const GateResult same = check.Run(config);
  EXPECT_EQ(same.status, GateStatus::kPassed) << same.error;
  EXPECT_EQ(OutcomeOf(same, Metric::kAccuracy), Outcome::kSame);
  EXPECT_THAT(same.notes, ElementsAre("answers against the baseline: 0 lost and 0 gained of 40 "
                                      "items (McNemar's p 1)"));
  check.models.plan.layers[1] = kKV2;
  const GateResult worse = check.Run(config);
  EXPECT_EQ(worse.status, GateStatus::kFailed) << worse.error;
  EXPECT_EQ(OutcomeOf(worse, Metric::kAccuracy), Outcome::kWorse);
  EXPECT_EQ(OutcomeOf(worse, Metric::kKlMean), Outcome::kWithinTolerance);
  EXPECT_THAT(Sentence(worse), HasSubstr("10 lost and 0 gained of 40 items"));
  // Answers say nothing about layers, so the losses do.
  ASSERT_TRUE(worse.blame);
  EXPECT_EQ(worse.blame->layer, 1u);
  EXPECT_EQ(worse.blame->metric, Metric::kKlMean);
  // The plan alone answers.
  for (const auto& plans : check.models.answered) EXPECT_THAT(plans, SizeIs(1));
}

TEST(Gate, AnswersMayBeComparedWithThoseOfTheExactCache) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.SetTask(config, "exact");
  EXPECT_EQ(check.Update(config).status, GateStatus::kPassed);
  EXPECT_THAT(check.models.answered.back(),
              ElementsAre(check.models.plan, PrecisionPlan::Uniform(kExactPair, 3)));
  EXPECT_EQ(check.Run(config).status, GateStatus::kPassed);
  const std::string before = check.BaselineText();
  check.models.plan.layers[1] = kKV2;
  for (const BaselineUse use : {BaselineUse::kCompare, BaselineUse::kUpdate}) {
    const GateResult worse = check.Run(config, use);
    EXPECT_EQ(worse.status, GateStatus::kFailed);
    EXPECT_EQ(OutcomeOf(worse, Metric::kAccuracy), Outcome::kWorse);
    EXPECT_THAT(worse.notes, Contains("answers against the exact cache: 10 lost and 0 gained of 40 "
                                      "items (McNemar's p 0.002)"));
  }
  EXPECT_EQ(check.BaselineText(), before);
}

TEST(Gate, DoesNotJudgeAnswersToOtherItems) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.SetTask(config);
  check.models.loads = 0;
  const auto error = [&] {
    const GateResult result = check.Run(config);
    EXPECT_EQ(result.status, GateStatus::kNotJudged);
    return result.error;
  };
  EXPECT_THAT(error(), HasSubstr("items of the task: found 0, expected 40"));
  check.Update(config);
  check.models.loads = 0;
  check.models.items = 41;
  EXPECT_THAT(error(), HasSubstr("items of the task: found 40, expected 41"));
  check.models.items = 40;
  check.SetTask(config, "baseline", "products.json");
  EXPECT_THAT(error(),
              HasSubstr("task_hash: found items of sums.json, expected items of products.json"));
  EXPECT_EQ(check.models.loads, 0);
}

TEST(Gate, RefusesATaskThatCouldNotFail) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.SetTask(config);
  check.models.items = 7;
  const GateResult result = check.Update(config);
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_THAT(result.error, HasSubstr("\"task\": found 7 items, expected at least 8"));
  // Of the eight items the plan has six right, and only those can be lost.
  check.models.items = 8;
  const GateResult few = check.Update(config);
  EXPECT_EQ(few.status, GateStatus::kPassed);
  const auto says_so = ::testing::Contains(HasSubstr("6 right answers can be lost, and at a "));
  EXPECT_THAT(few.notes, says_so);
  EXPECT_THAT(check.Run(config).notes, says_so);
  check.models.items = 16;
  EXPECT_THAT(check.Update(config).notes, ::testing::Not(says_so));
}

TEST(Gate, AnUpdateOverALimitOfTheAccuracyIsRefused) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.SetTask(config);
  check.SetLimit(config, "accuracy", 0.96);
  const GateResult result = check.Update(config);
  EXPECT_EQ(result.status, GateStatus::kFailed);
  EXPECT_EQ(OutcomeOf(result, Metric::kAccuracy), Outcome::kOverLimit);
  EXPECT_FALSE(fs::exists(check.folder / "baselines"));
}

TEST(Gate, FailsAWorsePlanAndBlamesTheLayerThatChanged) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.plan = {{kKV8, kKV4, kKV2}};
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kFailed);
  EXPECT_EQ(OutcomeOf(result, Metric::kKlMean), Outcome::kWorse);
  EXPECT_EQ(OutcomeOf(result, Metric::kBytesPerToken), Outcome::kBetter);
  ASSERT_TRUE(result.blame);
  EXPECT_EQ(result.blame->layer, 2u);
  EXPECT_EQ(result.blame->toward, Toward::kBaseline);
  EXPECT_EQ(result.blame->pair, "KV2");
  EXPECT_EQ(result.blame->replacement, "KV8");
  EXPECT_EQ(result.blame->metric, Metric::kKlMean);
  EXPECT_LT(result.blame->replaced, result.blame->after);
}

TEST(Gate, BlamesTheLayerThatLosesMostWhereThePlanIsTheSame) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.script.losses.layer_weights[1] = 50;
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kFailed);
  ASSERT_TRUE(result.blame);
  EXPECT_EQ(result.blame->layer, 1u);
  EXPECT_EQ(result.blame->toward, Toward::kExact);
}

TEST(Gate, AFailureStaysOneWhenItsLayerCannotBeNamed) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.plan = PrecisionPlan::Uniform(kKV4, 3);
  check.models.script.error_in_call = check.models.script.calls.size() + 2;
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kFailed);
  EXPECT_EQ(OutcomeOf(result, Metric::kKlMean), Outcome::kWorse);
  EXPECT_FALSE(result.blame);
  EXPECT_THAT(result.error, IsEmpty());
  EXPECT_THAT(result.notes,
              Contains(AllOf(StartsWith("no layer is named: "), HasSubstr("told to fail"))));
}

TEST(Gate, PassesABetterPlan) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.models.plan = PrecisionPlan::Uniform(kKV4, 3);
  check.Update(config);
  check.models.script.losses.layer_weights[0] = 0.1;
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kPassed);
  EXPECT_EQ(OutcomeOf(result, Metric::kKlMean), Outcome::kBetter);
}

TEST(Gate, AnUpdateSaysWhatItChanges) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.plan.layers[1] = kKV4;
  const GateResult result = check.Update(config);
  EXPECT_EQ(result.status, GateStatus::kPassed);
  EXPECT_THAT(result.notes, Contains(StartsWith("updated ")));
  EXPECT_THAT(result.notes, Contains("plan: KV8 -> KV8;1:KV4"));
  EXPECT_LT(result.metrics[0].before, result.metrics[0].after);
  EXPECT_EQ(check.Run(config).status, GateStatus::kPassed);
}

TEST(Gate, APlanThatBreaksALimitLeavesTheBaselineAsItWas) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  const std::string before = check.BaselineText();
  check.SetLimit(config, "kl_mean", 0.01);
  check.models.plan = PrecisionPlan::Uniform(kKV2, 3);
  const GateResult result = check.Update(config);
  EXPECT_EQ(result.status, GateStatus::kFailed);
  EXPECT_EQ(OutcomeOf(result, Metric::kKlMean), Outcome::kOverLimit);
  EXPECT_THAT(result.notes, ElementsAre(HasSubstr("is as it was: the plan breaks a limit")));
  EXPECT_EQ(check.BaselineText(), before);
}

TEST(Gate, RefusesALimitThatTheBaselineBreaks) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.models.plan = PrecisionPlan::Uniform(kKV4, 3);
  check.Update(config);
  check.SetLimit(config, "kl_mean", 1e-6);
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_THAT(result.error, HasSubstr("expected a limit that the baseline holds"));
}

TEST(Gate, RefusesAnotherModelBeforeItIsLoaded) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.hash = "another hash";
  check.models.loads = 0;
  for (const BaselineUse use : {BaselineUse::kCompare, BaselineUse::kUpdate}) {
    const GateResult result = check.Run(config, use);
    EXPECT_EQ(result.status, GateStatus::kNotJudged);
    EXPECT_THAT(result.error, HasSubstr("\"model_hash\": found another hash"));
    EXPECT_THAT(result.error, HasSubstr("expected hash of the model (--accept-model"));
  }
  EXPECT_EQ(check.models.loads, 0);
}

TEST(Gate, JudgesAnAcceptedModelAndLeavesItsConfigAlone) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.hash = "another hash";
  const std::string before = ReadFile(config);
  const GateResult result = check.Run(config, BaselineUse::kCompare, ModelChange::kAccept);
  EXPECT_EQ(result.status, GateStatus::kPassed) << result.error;
  EXPECT_THAT(result.notes, ElementsAre("another model: another hash, not hash of the model"));
  EXPECT_EQ(ReadFile(config), before);
}

TEST(Gate, AnAcceptedModelOfAnUpdateIsPinned) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.hash = "another hash";
  const GateResult result = check.Run(config, BaselineUse::kUpdate, ModelChange::kAccept);
  EXPECT_EQ(result.status, GateStatus::kPassed) << result.error;
  EXPECT_THAT(result.notes,
              Contains(config.string() + ": model_hash: hash of the model -> another hash"));
  EXPECT_EQ(ReadGateConfig(config).model_hash, "another hash");
  EXPECT_EQ(ReadGateConfig(config).plan, "KV8");
  EXPECT_EQ(check.Run(config).status, GateStatus::kPassed);
}

TEST(Gate, AnAcceptedModelThatBreaksALimitIsNotPinned) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.SetLimit(config, "kl_mean", 1e-9);
  check.models.hash = "another hash";
  const std::string before = ReadFile(config);
  EXPECT_EQ(check.Run(config, BaselineUse::kUpdate, ModelChange::kAccept).status,
            GateStatus::kFailed);
  EXPECT_EQ(ReadFile(config), before);
  EXPECT_FALSE(fs::exists(check.folder / "baselines"));
}

TEST(Gate, RefusesTwoConfigsOfOneName) {
  Checked check;
  Gate gate(check.models, {.baseline = {}, .use = BaselineUse::kUpdate});
  EXPECT_EQ(gate.Run(check.Config("a.json", "one")).status, GateStatus::kPassed);
  EXPECT_EQ(gate.Run(check.Config("b.json", "two")).status, GateStatus::kPassed);
  const GateResult result = gate.Run(check.Config("c.json", "one"));
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_EQ(result.name, (check.folder / "c.json").string());
  EXPECT_THAT(result.error,
              AllOf(HasSubstr("c.json: \"name\": found one in"), HasSubstr("a.json")));
  EXPECT_FALSE(fs::exists(check.folder / "baselines" / "c.json"));
}

TEST(Gate, DoesNotJudgeALossThatIsNoNumber) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  const std::string before = check.BaselineText();
  for (const BaselineUse use : {BaselineUse::kCompare, BaselineUse::kUpdate}) {
    check.models.script.nan_in_call = check.models.script.calls.size() + 1;
    const GateResult result = check.Run(config, use);
    EXPECT_EQ(result.status, GateStatus::kNotJudged);
    EXPECT_THAT(result.error, HasSubstr("scoring prompt 0: found a KL of nan"));
    EXPECT_THAT(result.metrics, IsEmpty());
  }
  EXPECT_EQ(check.BaselineText(), before);
}

TEST(Gate, AnErrorOfTheModelIsAResult) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.script.error_in_call = check.models.script.calls.size() + 1;
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_THAT(result.error, HasSubstr("told to fail"));
}

TEST(Gate, WithoutABaselineNothingIsJudged) {
  Checked check;
  const GateResult result = check.Run(check.Config("small.json"));
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_THAT(result.error, HasSubstr("kvtune check --update-baseline writes it"));
  EXPECT_EQ(check.models.loads, 0);
}

TEST(Gate, AConfigThatCannotBeReadIsNamedByItsFile) {
  Checked check;
  WriteFileAtomically(check.folder / "bad.json", "{");
  const GateResult result = check.Run(check.folder / "bad.json");
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_EQ(result.name, (check.folder / "bad.json").string());
  EXPECT_THAT(result.error, HasSubstr("not valid JSON"));
}

TEST(Gate, OneBaselineFileServesAllConfigs) {
  Checked check;
  const fs::path file = check.folder / "all.json";
  Gate gate(check.models, {.baseline = file, .use = BaselineUse::kUpdate});
  gate.Run(check.Config("a.json", "one"));
  gate.Run(check.Config("b.json", "two"));
  EXPECT_THAT(ReadBaselines(file), SizeIs(2));
  EXPECT_FALSE(fs::exists(check.folder / "baselines"));
  EXPECT_EQ(Gate(check.models, {.baseline = file}).Run(check.folder / "a.json").status,
            GateStatus::kPassed);
}

TEST(Gate, InAnotherDataTypeOnlyTheMeanIsCompared) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.models.plan = PrecisionPlan::Uniform(kKV4, 3);
  check.Update(config);
  check.models.script.data_type_name = "bfloat16";
  check.models.script.noise_floor = 1e-4;
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kPassed) << result.error;
  EXPECT_THAT(result.notes,
              ElementsAre("computed in bfloat16, the baseline in float32: only the mean KL is "
                          "compared, with 0.0002 nats of rounding allowed"));
  EXPECT_EQ(OutcomeOf(result, Metric::kKlMean), Outcome::kSame);
  EXPECT_EQ(OutcomeOf(result, Metric::kBytesPerToken), Outcome::kSame);
  EXPECT_EQ(OutcomeOf(result, Metric::kKlP999), Outcome::kNotComparable);
  EXPECT_EQ(OutcomeOf(result, Metric::kTop1Agreement), Outcome::kNotComparable);
  // What rounding cannot explain fails all the same.
  check.models.plan = PrecisionPlan::Uniform(kKV2, 3);
  EXPECT_EQ(check.Run(config).status, GateStatus::kFailed);
}

TEST(Gate, DoesNotJudgeALossThatRoundingOfAnotherTypeHides) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  check.models.script.data_type_name = "bfloat16";
  check.models.script.noise_floor = 1e-2;
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_THAT(result.error, AllOf(HasSubstr("0.02 nats of rounding in bfloat16"),
                                  HasSubstr("(--dtype float32 judges it)")));
  // Half of the loss is still judged. Rounding is allowed for twice, in either type.
  const Measurement measured =
      ReadBaselines(check.folder / "baselines" / "small.json").at(0).measured;
  check.models.script.noise_floor = ValueOf(measured, Metric::kKlMean) / 4;
  EXPECT_EQ(check.Run(config).status, GateStatus::kPassed);
  check.models.script.noise_floor *= 1.01;
  EXPECT_EQ(check.Run(config).status, GateStatus::kNotJudged);
}

TEST(Gate, DoesNotJudgeALimitThatOnlyAnotherTypeBreaks) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.models.plan = PrecisionPlan::Uniform(kKV4, 3);
  check.Update(config);
  const Measurement measured =
      ReadBaselines(check.folder / "baselines" / "small.json").at(0).measured;
  check.SetLimit(config, "kl_mean", 1.001 * ValueOf(measured, Metric::kKlMean));
  check.models.script.data_type_name = "bfloat16";
  // A hundredth more, and by a whole turn of what prompts like, so that it is so on all of them.
  check.models.script.losses.layer_weights[0] += 2 * std::numbers::pi / 1e4 / FakePairError(kKV4);
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_THAT(result.error, HasSubstr("to hold whatever the rounding"));
}

TEST(Gate, SaysThatTheBaselineIsOfAnotherVersion) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  const fs::path file = check.folder / "baselines" / "small.json";
  Json json = ReadJsonFile(file);
  json["baselines"][0]["run"]["version"] = "0.0.9";
  WriteJsonFileAtomically(file, json);
  EXPECT_THAT(check.Run(config).notes,
              ElementsAre("the baseline is of kvtune 0.0.9, this is 0.1.0"));
}

TEST(MeasurePlans, KeepsOfEveryPromptWhatTheGateNeeds) {
  FakeGateModels models;
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kKV4, 3),
                                            PrecisionPlan::Uniform(kExactPair, 3)};
  const std::vector<Measurement> measured =
      MeasurePlans(models.model, plans, models.prompts, FakeCost);
  ASSERT_THAT(measured, SizeIs(2));
  const auto scores = models.model.ScorePlans(plans, models.prompts.prompts, nullptr);
  for (size_t i = 0; i < plans.size(); ++i) {
    EXPECT_EQ(measured[i].bytes_per_token, FakeCost(plans[i]).bytes_per_token);
    EXPECT_DOUBLE_EQ(ValueOf(measured[i], Metric::kKlMean), Summarize(scores[i]).kl_mean);
    EXPECT_DOUBLE_EQ(ValueOf(measured[i], Metric::kKlP999), Summarize(scores[i]).kl_p999);
    for (const PromptScore& prompt : measured[i].prompts) EXPECT_THAT(prompt.token_kl, SizeIs(3));
  }
  EXPECT_EQ(ValueOf(measured[1], Metric::kKlMean), 0);
}

TEST(Gate, DoesNotJudgeAgainstOtherCountsOfPromptsOrTokens) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.Update(config);
  const fs::path file = check.folder / "baselines" / "small.json";
  const Json whole = ReadJsonFile(file);
  const Json::json_pointer prompts("/baselines/0/measured/prompts");
  Json fewer = whole;
  fewer[prompts].erase(size_t{7});
  Json more = whole;
  more[prompts].push_back(whole[prompts][7]);
  Json longer = whole;
  longer[prompts][0]["tokens"] = whole[prompts][0]["tokens"].get<int64_t>() + 1;
  for (const Json& baseline : {fewer, more, longer}) {
    WriteJsonFileAtomically(file, baseline);
    const GateResult result = check.Run(config);
    EXPECT_EQ(result.status, GateStatus::kNotJudged);
    EXPECT_THAT(result.error, HasSubstr("the baseline of small: "));
    EXPECT_THAT(result.error, HasSubstr("as it is now"));
  }
}

TEST(Gate, AFileThatTheSystemRefusesIsNotJudged) {
  Checked check;
  const fs::path config = check.Config("small.json");
  Gate gate(check.models, {.baseline = check.folder / std::string(300, 'b')});
  const GateResult result = gate.Run(config);
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_THAT(result.error, HasSubstr("too long"));
}

TEST(Gate, DoesNotJudgeAModelThatChangedMeanwhile) {
  Checked check;
  const fs::path config = check.Config("small.json");
  check.models.changes = true;
  EXPECT_EQ(check.Update(config).status, GateStatus::kNotJudged);
  EXPECT_FALSE(fs::exists(check.folder / "baselines" / "small.json"));
  check.models.changes = false;
  check.Update(config);
  check.models.changes = true;
  const GateResult result = check.Run(config);
  EXPECT_EQ(result.status, GateStatus::kNotJudged);
  EXPECT_THAT(result.error, HasSubstr("found other content"));
}

TEST(Gate, WritesBaselinesAndConfigsThroughLinks) {
  Checked check;
  const fs::path config = check.Config("small.json");
  fs::create_directories(check.folder / "elsewhere");
  fs::create_directories(check.folder / "baselines");
  fs::rename(config, check.folder / "elsewhere/config.json");
  fs::create_symlink("elsewhere/config.json", config);
  fs::create_symlink("../elsewhere/baseline.json", check.folder / "baselines" / "small.json");
  check.models.hash = "hash of another model";
  const GateResult result = check.Run(config, BaselineUse::kUpdate, ModelChange::kAccept);
  EXPECT_EQ(result.status, GateStatus::kPassed) << result.error;
  EXPECT_TRUE(fs::is_symlink(config));
  EXPECT_TRUE(fs::is_symlink(check.folder / "baselines" / "small.json"));
  EXPECT_EQ(ReadJsonFile(check.folder / "elsewhere/config.json")["model_hash"],
            "hash of another model");
  EXPECT_EQ(ReadBaselines(check.folder / "elsewhere/baseline.json").size(), 1u);
}

}  // namespace
}  // namespace kvtune
