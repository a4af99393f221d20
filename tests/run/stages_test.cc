#include "lib/run/stages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/support/fake_run.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

struct StagedRun {
  // As a command does: the model is opened anew, the directory too.
  SensitivityTable Calibrate(const CalibrateOptions& options = {}) {
    ModelSession model(fake.inputs(), "", fake.loader());
    RunSession session(fake / "run", model.run(), {"kvtune", "calibrate"});
    return CalibrateStep(session, model, options);
  }
  RunSession Open() { return RunSession(fake / "run", {"kvtune", "test"}); }
  CandidateSet Prune(const PruneOptions& options = {}) {
    RunSession session = Open();
    return PruneStep(session, options);
  }
  LayerGroups Cluster(const ClusterOptions& options = {}) {
    RunSession session = Open();
    return ClusterStep(session, options);
  }
  std::string TextOf(const std::string& name) const { return ReadFile(fake / "run" / name); }

  FakeRun fake;
};

TEST(Stages, CalibrateMakesTheTableOfTheModel) {
  StagedRun run;
  const SensitivityTable table = run.Calibrate();
  ASSERT_THAT(run.fake.script.calls, SizeIs(1));
  EXPECT_EQ(run.fake.script.calls[0].kind, FakeCallKind::kObserve);
  EXPECT_EQ(run.fake.script.calls[0].pairs, NinePairs());
  EXPECT_THAT(run.fake.script.calls[0].prompts, SizeIs(12));
  EXPECT_EQ(table.run.target, "kvtuner");
  EXPECT_EQ(table.run.prompt_count, 12);
  ASSERT_THAT(table.layers, SizeIs(FakeRun::kLayers));
  for (size_t layer = 0; layer < FakeRun::kLayers; ++layer) {
    EXPECT_NEAR(table.layers[layer].errors[4].e_o,
                run.fake.script.losses.layer_weights[layer] * FakePairError(kKV4), 1e-12);
    EXPECT_FALSE(table.layers[layer].errors[4].kl);
  }
  EXPECT_EQ(run.TextOf("sensitivity.json"), DumpJson(ToJson(table)));
}

TEST(Stages, CalibrateMeasuresIsolatedLossesOnlyWhenAsked) {
  StagedRun run;
  const SensitivityTable table = run.Calibrate({.screening = ScreeningError::kIsolatedKl});
  for (const LayerSensitivity& layer : table.layers) {
    ASSERT_TRUE(layer.errors[8].kl);
    EXPECT_GT(*layer.errors[8].kl, 0);
  }
  EXPECT_GT(*table.layers[0].errors[8].kl, *table.layers[5].errors[8].kl);
}

TEST(Stages, CalibrateReusesItsFileWithoutACallOfTheModel) {
  StagedRun run;
  run.Calibrate();
  const std::string text = run.TextOf("sensitivity.json");
  run.fake.script.calls.clear();
  EXPECT_EQ(DumpJson(ToJson(run.Calibrate())), text);
  EXPECT_THAT(run.fake.script.calls, SizeIs(0));
}

TEST(Stages, CalibrateIsMadeAgainWithOtherOptions) {
  StagedRun run;
  run.Calibrate();
  run.Calibrate({.reduction = MetricReduction::kMeanOfRatios});
  EXPECT_EQ(run.fake.script.CountOf(FakeCallKind::kObserve), 2u);
  EXPECT_EQ(ReadJsonFile(run.fake / "run" /
                         "run.json")["stages"]["calibrate"]["options"]["--metric-reduction"],
            "mean-of-ratios");
}

TEST(Stages, AFailedCalibrationLeavesNothing) {
  StagedRun run;
  run.fake.script.error_in_call = 1;
  EXPECT_THROW(run.Calibrate(), Error);
  EXPECT_FALSE(fs::exists(run.fake / "run" / "run.json"));
  EXPECT_FALSE(fs::exists(run.fake / "run" / "sensitivity.json"));
}

TEST(Stages, ErrorsThatAreNotNumbersAreNotWritten) {
  StagedRun run;
  run.fake.script.nan_in_call = 1;
  EXPECT_THAT([&] { run.Calibrate(); },
              ThrowsMessage<Error>(HasSubstr("calibrating layer 0: found nan")));
  EXPECT_FALSE(fs::exists(run.fake / "run" / "sensitivity.json"));
}

// Without the files that they are made from, stages can only have read their own.
TEST(Stages, PruneAndClusterReuseTheirFiles) {
  StagedRun run;
  run.Calibrate();
  const std::string candidates = DumpJson(ToJson(run.Prune()));
  const std::string groups = DumpJson(ToJson(run.Cluster()));
  EXPECT_EQ(run.TextOf("candidates.json"), candidates);
  EXPECT_EQ(run.TextOf("groups.json"), groups);
  fs::remove(run.fake / "run" / "sensitivity.json");
  EXPECT_EQ(DumpJson(ToJson(run.Prune())), candidates);
  EXPECT_EQ(DumpJson(ToJson(run.Cluster())), groups);
}

TEST(Stages, AStageNeedsThoseBefore) {
  StagedRun run;
  run.Calibrate();
  EXPECT_THAT([&] { run.Cluster(); }, ThrowsMessage<Error>(HasSubstr("written by `kvtune prune`")));
  run.Prune();
  fs::remove(run.fake / "run" / "sensitivity.json");
  EXPECT_THAT([&] { run.Cluster(); },
              ThrowsMessage<Error>(HasSubstr("written by `kvtune calibrate`")));
}

TEST(Stages, PruneIsMadeAgainWithOtherOptions) {
  StagedRun run;
  run.Calibrate();
  EXPECT_THAT(run.Prune().layers[0].kept, SizeIs(5));
  EXPECT_THAT(run.Prune({.min_pairs = 7}).layers[0].kept, SizeIs(7));
  EXPECT_THAT(run.Prune({.min_pairs = 7}).layers[0].kept, SizeIs(7));
}

TEST(Stages, OtherOptionsAfterALaterStageAreRefused) {
  StagedRun run;
  run.Calibrate();
  run.Prune();
  const std::string candidates = run.TextOf("candidates.json");
  EXPECT_THAT([&] { run.Calibrate({.screening = ScreeningError::kIsolatedKl}); },
              ThrowsMessage<Error>(HasSubstr("--sensitivity: found eo there, expected kl")));
  run.Cluster();
  EXPECT_THAT([&] { run.Prune({.epsilon = 0.5}); },
              ThrowsMessage<Error>(HasSubstr("--epsilon: found 0.0 there, expected 0.5")));
  EXPECT_EQ(run.TextOf("candidates.json"), candidates);
}

TEST(Stages, OptionsThatAStageRefusesDoNotBindTheDirectory) {
  StagedRun run;
  run.Calibrate();
  const std::string before = run.TextOf("run.json");
  EXPECT_THROW(run.Prune({.epsilon = 2}), Error);
  EXPECT_EQ(run.TextOf("run.json"), before);
}

// Else a process that ends in between leaves a file that run.json says was made otherwise.
TEST(Stages, NoFileIsReplacedBeforeItsOptionsAreOnRecord) {
  StagedRun run;
  run.Calibrate();
  run.Prune();
  const std::string candidates = run.TextOf("candidates.json");
  RunSession session = run.Open();
  // A folder in its place: run.json cannot be written.
  fs::rename(run.fake / "run" / "run.json", run.fake / "aside.json");
  fs::create_directories(run.fake / "run" / "run.json" / "in the way");
  EXPECT_THROW(PruneStep(session, {.min_pairs = 7}), Error);
  EXPECT_EQ(run.TextOf("candidates.json"), candidates);
}

TEST(Stages, DiagnoseWritesWhatItFound) {
  StagedRun run;
  const SensitivityTable table = run.Calibrate();
  const RunSession session = run.Open();
  const Diagnosis diagnosis = DiagnoseStep(session, table);
  EXPECT_EQ(run.TextOf("diagnosis.json"), DumpJson(ToJson(diagnosis)));
}

TEST(StageOptions, AreNamedByTheirFlags) {
  EXPECT_EQ(OptionsOf(CalibrateOptions{}),
            Json({{"--sensitivity", "eo"}, {"--metric-reduction", "ratio-of-sums"}}));
  EXPECT_EQ(OptionsOf(PruneOptions{.metric = ScreeningError::kIsolatedKl,
                                   .bits = BitCount::kNominal,
                                   .epsilon = 0.25,
                                   .min_pairs = 3}),
            Json({{"--sensitivity", "kl"},
                  {"--bits", "nominal"},
                  {"--epsilon", 0.25},
                  {"--min-pairs", 3}}));
  EXPECT_EQ(OptionsOf(ClusterOptions{.no_cluster = true, .max_groups = 4}),
            Json({{"--max-groups", 4}, {"--no-cluster", true}}));
}

}  // namespace
}  // namespace kvtune
