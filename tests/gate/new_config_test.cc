#include "lib/gate/new_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

ScoredPlan Scored(const PrecisionPlan& plan) {
  const FakeEvaluator fake({3.1, 0.7}, 0, 8);
  return {.name = "p00", .plan = plan, .cost = FakeCost(plan), .calibration = fake.ScoreOf(plan)};
}

ParetoFront FrontOf(const ScoredPlan& plan) {
  ParetoFront front;
  front.run = TestRun(2);
  front.run.seed = 5;
  front.plans = {plan};
  front.reference = Scored(PrecisionPlan::Uniform(kExactPair, 2));
  return front;
}

TEST(NewGateConfig, WhatIsWrittenCanBeRead) {
  const TemporaryDirectory folder;
  const ScoredPlan plan = Scored({{kKV8, kKV4}});
  ParetoFront front = FrontOf(plan);
  front.run.prefill = "exact";
  const fs::path out = folder / "served.json";
  WriteJsonFileAtomically(out, ToJson(NewGateConfig(front, plan, NinePairs(), out)));
  const GateConfig config = ReadGateConfig(out);
  EXPECT_EQ(config.name, "served");
  EXPECT_EQ(config.file, out);
  EXPECT_EQ(config.model, fs::absolute(front.run.model));
  EXPECT_EQ(config.model_hash, front.run.model_hash);
  EXPECT_EQ(config.target, "kvtuner");
  EXPECT_EQ(ParsePlanSpec(config.plan, 2, NinePairs()), plan.plan);
  ASSERT_EQ(config.prompts.files.size(), 1u);
  EXPECT_EQ(config.prompts.files[0], fs::absolute("prompts.jsonl"));
  EXPECT_EQ(config.prompts_hash, front.run.prompts_hash);
  // Its prompts are those of the run: the first so many of the same shuffle.
  EXPECT_EQ(config.prompts.max_prompts, 4);
  EXPECT_EQ(config.prompts.max_tokens, 1000);
  EXPECT_EQ(config.prompts.long_prompts, LongPrompts::kCut);
  EXPECT_EQ(config.seed, 5u);
  EXPECT_EQ(config.context, 8192);
  EXPECT_EQ(config.prefill, PrefillMode::kExact);
}

TEST(NewGateConfig, MeasuresThePromptsAndScalesOfTheRun) {
  const TemporaryDirectory folder;
  const ScoredPlan plan = Scored({{kKV8, kKV4}});
  ParetoFront front = FrontOf(plan);
  const fs::path out = folder / "served.json";
  for (const char* key : {"prompt_template", "scales"}) {
    EXPECT_FALSE(ToJson(NewGateConfig(front, plan, NinePairs(), out)).contains(key)) << key;
  }
  front.run.prompt_template = "Question: {question}\nAnswer: {answer}";
  front.run.scales = CacheScales::kCheckpoint;
  WriteJsonFileAtomically(out, ToJson(NewGateConfig(front, plan, NinePairs(), out)));
  const GateConfig config = ReadGateConfig(out);
  EXPECT_EQ(config.prompts.prompt_template, front.run.prompt_template);
  EXPECT_EQ(config.scales, CacheScales::kCheckpoint);
}

TEST(NewGateConfig, NamesNoFileOfBundledPrompts) {
  const ScoredPlan plan = Scored({{kKV8, kKV4}});
  ParetoFront front = FrontOf(plan);
  front.run.prompts = {"bundled"};
  const GateConfig config = NewGateConfig(front, plan, NinePairs(), "served.json");
  EXPECT_THAT(config.prompts.files, IsEmpty());
  EXPECT_EQ(ToJson(config)["prompts"], Json({"bundled"}));
}

TEST(NewGateConfig, AnswersATask) {
  const TemporaryDirectory folder;
  const fs::path task = folder / "sums.json", out = folder / "gate" / "served.json";
  fs::create_directories(out.parent_path());
  WriteFileAtomically(task, R"({"name": "sums", "protocol": "custom", "items": [
      {"prompt": "1 + 1", "answer": "2"}, {"prompt": "1 + 2", "answer": "3"},
      {"prompt": "1 + 3", "answer": "4"}, {"prompt": "1 + 4", "answer": "5"}]})");
  ScoredPlan plan = Scored({{kKV8, kKV4}});
  const auto config_of = [&](const TaskOverrides& overrides) {
    const GateTask named{.file = task, .overrides = overrides, .apply_chat_template = true};
    return NewGateConfig(FrontOf(plan), plan, NinePairs(), out, named);
  };
  WriteJsonFileAtomically(out, ToJson(config_of({.limit = 3, .fewshot = {}})));
  GateConfig config = ReadGateConfig(out);
  ASSERT_TRUE(config.task);
  EXPECT_EQ(config.task->file, task);
  EXPECT_EQ(config.task->overrides.limit, 3);
  EXPECT_TRUE(config.task->apply_chat_template);
  EXPECT_EQ(config.task->against, AnswerReference::kBaseline);
  // The run has no answers, so that the baseline alone judges.
  EXPECT_FALSE(config.limits.absolute.contains(Metric::kAccuracy));
  plan.accuracy = {.task = "sums", .items = 4, .strict = 0.75};
  EXPECT_EQ(config_of({}).limits.absolute.at(Metric::kAccuracy), 0.5);
  plan.accuracy->strict = 0.25;
  EXPECT_EQ(config_of({}).limits.absolute.at(Metric::kAccuracy), 0);
  // Answers to other items say nothing about these.
  EXPECT_FALSE(config_of({.limit = 3, .fewshot = {}}).limits.absolute.contains(Metric::kAccuracy));
  plan.accuracy->task = "products";
  EXPECT_FALSE(config_of({}).limits.absolute.contains(Metric::kAccuracy));
}

TEST(NewGateConfig, LimitsHaveRoomAboveWhatWasMeasured) {
  for (const PrecisionPair pair : NinePairs()) {
    const ScoredPlan plan = Scored(PrecisionPlan::Uniform(pair, 2));
    const std::map<Metric, double> limits =
        NewGateConfig(FrontOf(plan), plan, NinePairs(), "served.json").limits.absolute;
    const PlanScore& score = plan.calibration;
    EXPECT_GT(limits.at(Metric::kKlMean), 1.9 * score.kl_mean);
    EXPECT_LT(limits.at(Metric::kKlMean), 2.1 * score.kl_mean);
    EXPECT_GT(limits.at(Metric::kKlP999), 1.9 * score.kl_p999);
    EXPECT_LT(limits.at(Metric::kKlP999), 2.1 * score.kl_p999);
    const double lost = 1 - score.top1_agreement;
    EXPECT_LT(limits.at(Metric::kTop1Agreement), 1 - std::min(1.0, 1.9 * lost) + 1e-12);
    EXPECT_GE(limits.at(Metric::kTop1Agreement), 0);
    // Bytes are no measurement: they have none.
    EXPECT_EQ(limits.at(Metric::kBytesPerToken), plan.cost.bytes_per_token);
    EXPECT_FALSE(limits.contains(Metric::kDeltaNll));
  }
}

TEST(NewGateConfig, LimitOfTheTailIsNotBelowThatOfTheMean) {
  ScoredPlan plan = Scored({{kKV8, kKV4}});
  plan.calibration.kl_mean = 0.02;
  plan.calibration.kl_p999 = 0.01;
  const Limits limits = NewGateConfig(FrontOf(plan), plan, NinePairs(), "served.json").limits;
  EXPECT_EQ(limits.absolute.at(Metric::kKlMean), 0.04);
  EXPECT_EQ(limits.absolute.at(Metric::kKlP999), 0.04);
}

TEST(NewGateConfig, TheExactPlanHasAConfigToo) {
  const ScoredPlan plan = Scored(PrecisionPlan::Uniform(kExactPair, 2));
  const GateConfig config = NewGateConfig(FrontOf(plan), plan, NinePairs(), "served.json");
  EXPECT_EQ(config.plan, "exact");
  EXPECT_EQ(config.limits.absolute.at(Metric::kKlMean), 0);
  EXPECT_EQ(config.limits.absolute.at(Metric::kTop1Agreement), 1);
}

// Under a target where KV4 is KIVI's format, the spec "KV4" would say another plan.
TEST(NewGateConfig, RefusesAPlanThatNoSpecSays) {
  const ScoredPlan plan = Scored(PrecisionPlan::Uniform(kKV4, 2));
  const std::vector<PrecisionPair> kivi = {kKiviKV4};
  EXPECT_THAT([&] { NewGateConfig(FrontOf(plan), plan, kivi, "served.json"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("writing a config for p00: found no spec"),
                                         HasSubstr("export the plan and name its file"))));
}

TEST(NewGateConfig, RefusesWhatCouldNotBeReadAgain) {
  ScoredPlan plan = Scored(PrecisionPlan::Uniform(kKV4, 2));
  ParetoFront front = FrontOf(plan);
  front.run.prefill = "fast";
  EXPECT_THROW(NewGateConfig(front, plan, NinePairs(), "served.json"), Error);
  front = FrontOf(plan);
  front.run.context = 0;
  EXPECT_THROW(NewGateConfig(front, plan, NinePairs(), "served.json"), Error);
}

TEST(NewGateConfig, LimitsAreTwiceWhatWasMeasuredInTwoDigits) {
  ScoredPlan plan = Scored({{kKV8, kKV4}});
  plan.calibration.kl_mean = 0.01234;
  plan.calibration.kl_p999 = 0.5678;
  plan.calibration.top1_agreement = 0.9434;
  plan.cost.bytes_per_token = 1234.5;
  const Limits limits = NewGateConfig(FrontOf(plan), plan, NinePairs(), "served.json").limits;
  EXPECT_EQ(limits.absolute.at(Metric::kKlMean), 0.025);
  EXPECT_EQ(limits.absolute.at(Metric::kKlP999), 1.1);
  EXPECT_DOUBLE_EQ(limits.absolute.at(Metric::kTop1Agreement), 1 - 0.11);
  EXPECT_EQ(limits.absolute.at(Metric::kBytesPerToken), 1234.5);
  plan.calibration.top1_agreement = 0.25;
  EXPECT_EQ(NewGateConfig(FrontOf(plan), plan, NinePairs(), "served.json")
                .limits.absolute.at(Metric::kTop1Agreement),
            0);
}

}  // namespace
}  // namespace kvtune
