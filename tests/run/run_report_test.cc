#include "lib/run/run_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/plan_source.h"
#include "lib/run/search_step.h"
#include "lib/run/stages.h"
#include "tests/support/fake_run.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

struct ReportedRun {
  // The stages up to `last` in the directory "a run", whose name a shell has to be told.
  void Make(Stage last, const std::string& held_out = "", int stop_at = 0) {
    ModelSession model(fake.inputs(), held_out, fake.loader());
    RunSession session(run, model.run(), command);
    CalibrateStep(session, model, {});
    if (last >= Stage::kPrune) PruneStep(session, {});
    if (last >= Stage::kCluster) ClusterStep(session, {});
    if (last < Stage::kSearch) return;
    SearchStepOptions options;
    options.search.population = 8;
    options.search.generations = 2;
    options.search.refinement_evaluations = refinement_evaluations;
    int asked = 0;
    SearchStep(session, model, options, [&] { return ++asked >= stop_at && stop_at > 0; });
  }
  std::vector<std::string> Missing() const {
    std::vector<std::string> what;
    for (const MissingPart& part : ReadRunReport(run).missing) what.push_back(part.what);
    return what;
  }

  FakeRun fake;
  fs::path run = fake / "a run";
  std::vector<std::string> command = {"kvtune", "search", "--model", "m"};
  int refinement_evaluations = 4;
};

TEST(RunReport, AFinishedRunHasEverything) {
  ReportedRun reported;
  reported.Make(Stage::kSearch);
  const RunReport report = ReadRunReport(reported.run);
  EXPECT_THAT(report.missing, IsEmpty());
  EXPECT_EQ(report.title, "model");
  EXPECT_EQ(report.path, reported.run.string());
  EXPECT_THAT(report.stages, SizeIs(4));
  EXPECT_EQ(report.stages[0].command, "kvtune search --model m");
  EXPECT_TRUE(report.stages[3].finished);
  EXPECT_TRUE(report.weight_bytes.has_value());
  EXPECT_TRUE(report.diagnosis.has_value());
  EXPECT_TRUE(report.candidates.has_value());
  EXPECT_TRUE(report.groups.has_value());
  const LogContent log =
      ReadEvaluationLog(RunDirectory(reported.run).evaluations(), FakeRun::kLayers);
  EXPECT_EQ(report.scored_plans, static_cast<int64_t>(log.evaluations.size()));
}

TEST(RunReport, OtherPlansAreThoseThatWereScoredAndAreOnNoList) {
  ReportedRun reported;
  reported.refinement_evaluations = 40;
  reported.Make(Stage::kSearch);
  const ParetoFront front = ReadFront(reported.run);
  std::set<std::vector<PrecisionPair>> listed;
  for (const ScoredPlan& plan : front.plans) listed.insert(plan.plan.layers);
  for (const ScoredPlan& plan : front.uniform) listed.insert(plan.plan.layers);
  std::vector<std::string> expected;
  const LogContent log =
      ReadEvaluationLog(RunDirectory(reported.run).evaluations(), FakeRun::kLayers);
  for (const LoggedEvaluation& evaluation : log.evaluations) {
    if (evaluation.score.complete() && !evaluation.plan.is_exact() &&
        !listed.contains(evaluation.plan.layers)) {
      expected.push_back(PlanSpec(evaluation.plan));
    }
  }
  EXPECT_THAT(expected, Not(IsEmpty()));
  std::vector<std::string> others;
  for (const ScoredPlan& plan : ReadRunReport(reported.run).others) {
    others.push_back(PlanSpec(plan.plan));
  }
  EXPECT_EQ(others, expected);
}

TEST(RunReport, ThePageHoldsAllPlansAndCellsOfTheRun) {
  ReportedRun reported;
  reported.Make(Stage::kSearch);
  const Json data = ReportData(ReadRunReport(reported.run));
  const ParetoFront front = ReadFront(reported.run);
  std::set<std::vector<PrecisionPair>> plans;
  for (const ScoredPlan& plan : front.plans) plans.insert(plan.plan.layers);
  for (const ScoredPlan& plan : front.uniform) plans.insert(plan.plan.layers);
  EXPECT_EQ(data["plans"].size(), plans.size() + 1);  // and the exact plan
  EXPECT_EQ(data["pairs"].size() * data["output_errors"][0].size(), 9 * FakeRun::kLayers);
  EXPECT_THAT(data["sentences"], Not(IsEmpty()));
  for (const Json& plan : data["plans"]) {
    // The run's own count of bytes, which the page's sizes have to agree with.
    for (size_t i = 0; i < data["contexts"].size(); ++i) {
      if (data["contexts"][i] != data["run"]["context"]) continue;
      const double bytes =
          plan["bytes_per_token"].get<double>() * data["contexts"][i].get<double>();
      // Both have six significant digits.
      EXPECT_NEAR(plan["cache_bytes"][i].get<double>(), bytes, 1e-5 * bytes);
    }
  }
}

TEST(RunReport, ExportsNameTheRunAsAShellReadsIt) {
  ReportedRun reported;
  reported.Make(Stage::kSearch);
  const RunReport report = ReadRunReport(reported.run);
  const std::vector<PlanExport> exports = report.exports(report.front->uniform.front());
  ASSERT_FALSE(exports.empty());
  for (const PlanExport& exported : exports) {
    EXPECT_EQ(exported.command, "kvtune pareto export '" + reported.run.string() + "' --plan " +
                                    report.front->uniform.front().name + " --format " +
                                    exported.format);
    EXPECT_EQ(exported.why_not, "");
  }
}

TEST(RunReport, TheSearchThatIsMissingHasTheInputsOfTheCalibration) {
  ReportedRun reported;
  reported.command = {"kvtune", "calibrate", "--model", "m"};
  reported.Make(Stage::kCalibrate);
  EXPECT_EQ(ReadRunReport(reported.run).missing[1].command, "kvtune search --model m");
  ReportedRun without_options;
  without_options.command = {"kvtune", "calibrate"};
  without_options.Make(Stage::kCalibrate);
  EXPECT_EQ(ReadRunReport(without_options.run).missing[1].command, "kvtune search");
  for (const std::vector<std::string>& other :
       {std::vector<std::string>{"kvtune", "bench"}, std::vector<std::string>{"search"}}) {
    ReportedRun of_another;
    of_another.command = other;
    of_another.Make(Stage::kCalibrate);
    EXPECT_EQ(ReadRunReport(of_another.run).missing[1].command,
              "kvtune search --model MODEL --out '" + of_another.run.string() + "'");
  }
}

TEST(RunReport, SaysWhatIsMissing) {
  ReportedRun reported;
  reported.Make(Stage::kCalibrate);
  RunReport report = ReadRunReport(reported.run);
  ASSERT_THAT(report.missing, SizeIs(2));
  EXPECT_EQ(report.missing[0].what, "No pairs have been pruned yet.");
  EXPECT_EQ(report.missing[0].command, "kvtune prune '" + reported.run.string() + "'");
  EXPECT_EQ(report.missing[1].what, "No plans have been searched yet, so there is no front.");
  EXPECT_EQ(report.missing[1].command, "kvtune search --model m");
  EXPECT_FALSE(report.front.has_value());
  EXPECT_THAT(ReportData(report)["plans"], IsEmpty());
  reported.Make(Stage::kPrune);
  EXPECT_EQ(reported.Missing()[0], "The layers have not been grouped yet.");
  reported.Make(Stage::kCluster);
  EXPECT_THAT(reported.Missing(), SizeIs(1));
}

TEST(RunReport, SaysThatThereAreNoHeldOutPromptsOrNoEnd) {
  ReportedRun reported;
  reported.Make(Stage::kSearch, "none");
  ASSERT_THAT(reported.Missing(), SizeIs(1));
  EXPECT_THAT(reported.Missing()[0], HasSubstr("no held-out prompts"));
  ReportedRun stopped;
  stopped.Make(Stage::kSearch, "", 5);
  ASSERT_THAT(stopped.Missing(), SizeIs(1));
  EXPECT_THAT(stopped.Missing()[0], HasSubstr("has not ended"));
}

TEST(RunReport, TheModelMayBeGone) {
  ReportedRun reported;
  reported.Make(Stage::kSearch);
  fs::remove_all(reported.fake.model());
  EXPECT_FALSE(ReadRunReport(reported.run).weight_bytes.has_value());
}

TEST(RunReport, RefusesWhatIsNoRunAndFilesOfAnother) {
  ReportedRun reported;
  EXPECT_THAT([&] { ReadRunReport(reported.fake / "nothing"); },
              ThrowsMessage<Error>(HasSubstr("run.json: found no such file")));
  reported.Make(Stage::kSearch);
  const fs::path file = RunDirectory(reported.run).front();
  Json front = ReadJsonFile(file);
  front["run"]["seed"] = 7;
  WriteJsonFileAtomically(file, front);
  EXPECT_THAT([&] { ReadRunReport(reported.run); },
              ThrowsMessage<Error>(HasSubstr("it is not of this run: --seed")));
}

}  // namespace
}  // namespace kvtune
