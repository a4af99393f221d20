#include "lib/run/plan_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/artifacts.h"
#include "lib/run/evaluation_log.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

const PrecisionPlan kMixed{{kKV8, kKV4, kK8V4}};

// Of three layers, with the plan p00 and the uniform plan KV4.
ParetoFront SmallFront() {
  const FakeEvaluator fake({3, 2, 1});
  const auto scored = [&](std::string name, const PrecisionPlan& plan) {
    return ScoredPlan{.name = std::move(name),
                      .plan = plan,
                      .cost = FakeCost(plan),
                      .calibration = fake.ScoreOf(plan)};
  };
  ParetoFront front;
  front.run = TestRun(3);
  front.plans = {scored("p00", kMixed)};
  front.uniform = {scored("KV4", PrecisionPlan::Uniform(kKV4, 3))};
  front.reference = scored("exact", PrecisionPlan::Uniform(kExactPair, 3));
  return front;
}

struct PlanFiles {
  PlanFiles() {
    fs::create_directory(run);
    WriteJsonFileAtomically(RunDirectory(run).front(), ToJson(SmallFront()));
  }

  static PrecisionPlan Read(const std::string& text, const std::string& target = "kvtuner") {
    return ReadPlanSource(text, 3, FindTarget(target));
  }
  // The plan p00 in a file of this name.
  std::string Export(const std::string& name, std::string_view format) {
    WriteFileAtomically(folder / name, ExportPlan(SmallFront().plans[0], SmallFront(), format));
    return (folder / name).string();
  }

  TemporaryDirectory folder;
  fs::path run = folder / "run";
};

TEST(PlanSource, ReadsAPlanThatIsWrittenOut) {
  PlanFiles files;
  EXPECT_EQ(files.Read("KV4;0:KV8;2:K8V4"), kMixed);
  EXPECT_EQ(files.Read("exact"), PrecisionPlan::Uniform(kExactPair, 3));
  EXPECT_THAT([&] { files.Read("KV5"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("KV5"), HasSubstr("KV8"), HasSubstr("exact"))));
  try {
    files.Read("KV5");
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kUsage);
  }
}

TEST(PlanSource, ReadsAFileByItsContent) {
  PlanFiles files;
  EXPECT_EQ(files.Read(files.Export("plan.yaml", "kvtuner")), kMixed);
  EXPECT_EQ(files.Read(files.Export("plan.json", "json")), kMixed);
  // The ending says nothing about a file that is there.
  EXPECT_EQ(files.Read(files.Export("plan", "json")), kMixed);
  EXPECT_EQ(files.Read(files.Export("plan.txt", "kvtuner")), kMixed);
}

TEST(PlanSource, TakesAnEndingForAFileThatIsMissing) {
  PlanFiles files;
  for (const char* ending : {".json", ".yaml", ".yml", ".py"}) {
    const std::string missing = (files.folder / "missing").string() + ending;
    EXPECT_THAT([&] { files.Read(missing); }, ThrowsMessage<Error>(HasSubstr(missing))) << ending;
    EXPECT_THAT([&] { files.Read(missing); }, ThrowsMessage<Error>(HasSubstr("No such file")));
  }
}

TEST(PlanSource, ReadsAPlanOfARunsFront) {
  PlanFiles files;
  EXPECT_EQ(files.Read(files.run.string() + ":p00"), kMixed);
  EXPECT_EQ(files.Read(files.run.string() + ":KV4"), PrecisionPlan::Uniform(kKV4, 3));
  EXPECT_EQ(files.Read(files.run.string() + ":exact"), PrecisionPlan::Uniform(kExactPair, 3));
}

// Of three plans the middle one loses little more than the larger one and far less than the
// smaller.
TEST(PlanSource, TheRecommendedPlanHasANameOfItsOwn) {
  ParetoFront front = SmallFront();
  front.plans.assign(3, front.plans[0]);
  const PrecisionPair pairs[] = {kKV8, kKV4, kKV2};
  const double losses[] = {1e-3, 2e-3, 1};
  for (size_t i = 0; i < 3; ++i) {
    front.plans[i].name = "p0" + std::to_string(i);
    front.plans[i].plan = PrecisionPlan::Uniform(pairs[i], 3);
    front.plans[i].cost = FakeCost(front.plans[i].plan);
    front.plans[i].calibration.kl_mean = losses[i];
  }
  front.uniform.clear();
  EXPECT_EQ(RequirePlan(front, "recommended", "run").name, "p01");
  // A plan of that name comes first.
  front.plans[2].name = "recommended";
  EXPECT_EQ(RequirePlan(front, "recommended", "run").plan, PrecisionPlan::Uniform(kKV2, 3));
  // Two plans have no knee.
  front.plans = {front.plans[0], front.plans[1]};
  EXPECT_THAT([&] { RequirePlan(front, "recommended", "run"); },
              ThrowsMessage<Error>(HasSubstr("found none that its search recommends")));
}

// The logs of a run that went on with other prompts know nothing of the scores of its front.
TEST(PlanSource, LossesByPromptAreThoseOfTheScoresPrompts) {
  PlanFiles files;
  const FakeEvaluator same({3, 2, 1}), fewer({3, 2, 1}, 0, 3);
  const auto prompts_with = [&](const FakeEvaluator& evaluator) {
    const std::vector<PrecisionPlan> plans = {kMixed};
    const std::vector<PlanScore> scores = {evaluator.ScoreOf(kMixed)};
    std::filesystem::remove(RunDirectory(files.run).evaluations());
    EvaluationLog(RunDirectory(files.run).evaluations(), 3).Append(plans, scores, FakeCost);
    const ParetoFront front = ReadFrontByPrompt(files.run);
    EXPECT_TRUE(front.uniform[0].calibration.per_prompt.empty());  // the log does not have it
    return front.plans[0].calibration.per_prompt.size();
  };
  EXPECT_EQ(prompts_with(same), 4u);
  EXPECT_EQ(prompts_with(fewer), 0u);
}

TEST(PlanSource, AnUnknownNameListsThoseThatExist) {
  PlanFiles files;
  EXPECT_THAT([&] { files.Read(files.run.string() + ":p01"); },
              ThrowsMessage<Error>(StrEq("reading a plan of " + files.run.string() +
                                         ": found no \"p01\" (did you mean \"p00\"?), expected one "
                                         "of p00, KV4, exact, recommended")));
  EXPECT_THAT([&] { files.Read((files.folder / "none").string() + ":p00"); },
              ThrowsMessage<Error>(HasSubstr("written by `kvtune search`")));
}

TEST(PlanSource, RefusesAPlanOfAnotherModelOrTarget) {
  PlanFiles files;
  EXPECT_THAT([&] { ReadPlanSource(files.run.string() + ":p00", 4, FindTarget("kvtuner")); },
              ThrowsMessage<Error>(HasSubstr("found 3 layers, expected the model's 4")));
  EXPECT_THAT([&] { files.Read(files.run.string() + ":p00", "vllm"); },
              ThrowsMessage<Error>(HasSubstr("layer 0: found int8 keys, expected what the target "
                                             "vllm has")));
}

TEST(PlanSource, NamesOfFilesAndRunsAreRelativeToTheFolder) {
  PlanFiles files;
  files.Export("plan", "json");
  EXPECT_EQ(PlanSourceFrom("plan", files.folder.path()), (files.folder / "plan").string());
  EXPECT_EQ(PlanSourceFrom("missing.yaml", files.folder.path()),
            (files.folder / "missing.yaml").string());
  EXPECT_EQ(PlanSourceFrom("run:p00", files.folder.path()), files.run.string() + ":p00");
  EXPECT_EQ(PlanSourceFrom("/elsewhere/plan.json", files.folder.path()), "/elsewhere/plan.json");
  EXPECT_EQ(files.Read(PlanSourceFrom("run:p00", files.folder.path())), kMixed);
}

TEST(PlanSource, APlanThatIsWrittenOutStaysAsItIs) {
  PlanFiles files;
  EXPECT_EQ(PlanSourceFrom("KV4", files.folder.path()), "KV4");
  EXPECT_EQ(PlanSourceFrom("KV4;0:KV8", files.folder.path()), "KV4;0:KV8");
  // Only files are plans.
  fs::create_directory(files.folder / "KV4");
  EXPECT_EQ(PlanSourceFrom("KV4", files.folder.path()), "KV4");
}

}  // namespace
}  // namespace kvtune
