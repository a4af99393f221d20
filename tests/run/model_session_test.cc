#include "lib/run/model_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/version.h"
#include "tests/support/fake_run.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

PromptSet SetOf(const std::vector<TokenIds>& prompts) {
  PromptSet set;
  set.prompts = prompts;
  CountAndHash(set);
  return set;
}

TEST(OpenedModel, LoadsTheWeightsOnceAndOnlyWhenTheyAreNeeded) {
  FakeRun fake;
  OpenedModel opened(fake.model(), {.device = "cpu", .threads = 3}, fake.loader());
  EXPECT_EQ(opened.config().layers.size(), FakeRun::kLayers);
  EXPECT_FALSE(opened.hash().empty());
  EXPECT_EQ(fake.loads, 0);
  MeasuredModel& model = opened.model();
  EXPECT_EQ(&opened.model(), &model);
  opened.ProvenanceOf(fake.inputs(), SetOf(FakePrompts(0, 2)));
  EXPECT_EQ(fake.loads, 1);
  EXPECT_EQ(fake.loaded_with.threads, 3);
  EXPECT_EQ(fake.loaded_with.device, "cpu");
}

TEST(OpenedModel, HashesOnceWhatItOpened) {
  FakeRun fake;
  OpenedModel opened(fake.model(), {}, fake.loader());
  const std::string hash = opened.hash();
  EXPECT_EQ(hash, Checkpoint(fake.model()).ContentHash());
  TinyModel other{
      .layers = FakeRun::kLayers, .hidden = 8, .intermediate = 8, .query_heads = 2, .kv_heads = 1};
  other.seed = 1;
  WriteTinyCheckpoint(other, fake.model());
  EXPECT_NE(OpenedModel(fake.model(), {}, fake.loader()).hash(), hash);
  EXPECT_EQ(opened.hash(), hash);
}

TEST(OpenedModel, MeasuresTheNoiseFloorOncePerPromptSet) {
  FakeRun fake;
  OpenedModel opened(fake.model(), {}, fake.loader());
  const PromptSet first = SetOf(FakePrompts(0, 3)), second = SetOf(FakePrompts(0, 4));
  EXPECT_EQ(opened.NoiseFloor(first), 1e-9);
  EXPECT_EQ(opened.NoiseFloor(first), 1e-9);
  EXPECT_EQ(fake.script.CountOf(FakeCallKind::kNoiseFloor), 1u);
  fake.script.noise_floor = 1e-4;
  EXPECT_EQ(opened.NoiseFloor(second), 1e-4);
  EXPECT_EQ(opened.NoiseFloor(first), 1e-9);
  EXPECT_EQ(fake.script.CountOf(FakeCallKind::kNoiseFloor), 2u);
}

TEST(OpenedModel, RefusesANoiseFloorThatIsNoNumber) {
  FakeRun fake;
  fake.script.nan_in_call = 1;
  OpenedModel opened(fake.model(), {}, fake.loader());
  const PromptSet prompts = SetOf(FakePrompts(0, 3));
  EXPECT_THAT([&] { opened.NoiseFloor(prompts); },
              ThrowsMessage<Error>(HasSubstr("measuring the noise floor: found nan")));
  EXPECT_EQ(opened.NoiseFloor(prompts), 1e-9);
}

TEST(OpenedModel, LearnsScalesOnlyForTargetsThatNeedThem) {
  FakeRun fake;
  OpenedModel opened(fake.model(), {}, fake.loader());
  const PromptSet prompts = SetOf(FakePrompts(0, 3));
  opened.LearnScales(FindTarget("kvtuner"), prompts);
  EXPECT_THAT(fake.script.calls, IsEmpty());
  EXPECT_EQ(fake.loads, 0);
  opened.LearnScales(FindTarget("vllm"), prompts);
  ASSERT_THAT(fake.script.calls, SizeIs(2));
  EXPECT_EQ(fake.script.calls[0].kind, FakeCallKind::kObserve);
  EXPECT_THAT(fake.script.calls[0].pairs, IsEmpty());
  EXPECT_EQ(fake.script.calls[0].prompts, prompts.prompts);
  EXPECT_EQ(fake.script.calls[1].kind, FakeCallKind::kSetMaxima);
}

TEST(ModelSession, TakesTheCheckpointsScalesWhereItIsAskedTo) {
  FakeRun fake;
  RunInputs inputs = fake.inputs();
  inputs.target = "vllm";
  inputs.scales = CacheScales::kCheckpoint;
  EXPECT_THAT([&] { ModelSession(inputs, "", fake.loader()); },
              ThrowsMessage<Error>(HasSubstr("found no k_proj.k_scale in layers 0, 1, 2")));
  EXPECT_EQ(fake.script.CountOf(FakeCallKind::kObserve), 0u);
  inputs.target = "kvtuner";
  EXPECT_THAT([&] { ModelSession(inputs, "", fake.loader()); },
              ThrowsMessage<Error>(HasSubstr("which stores no static scales")));
}

TEST(ModelSession, KeepsWhichPairsAreSearched) {
  FakeRun fake;
  RunInputs inputs = fake.inputs();
  inputs.kernels = KernelChoice::kDefault;
  // All of its pairs have kernels, so that the choice makes no difference.
  const ModelSession session(inputs, "none", fake.loader());
  EXPECT_EQ(session.run().kernels, KernelChoice::kAll);
  EXPECT_EQ(session.target().pairs, FindTarget("kvtuner").pairs);
  EXPECT_EQ(session.run().module_prefix, "model.");
}

TEST(ModelSession, SaysWhatItsResultsDependOn) {
  FakeRun fake;
  fake.script.device_name = "cuda:1";
  fake.script.data_type_name = "bfloat16";
  RunInputs inputs = fake.inputs();
  inputs.seed = 4;
  inputs.context = 1000;
  inputs.running.prefill = PrefillMode::kExact;
  const ModelSession session(inputs, "", fake.loader());
  const Provenance& run = session.run();
  EXPECT_EQ(run.version, Version());
  EXPECT_EQ(run.model, fake.model());
  EXPECT_EQ(run.model_hash, Checkpoint(fake.model()).ContentHash());
  EXPECT_EQ(run.prompts, std::vector<std::string>{fake.prompts().string()});
  EXPECT_EQ(run.prompts_hash, session.prompts().calibration.hash);
  EXPECT_EQ(run.prompt_count, 12);
  EXPECT_EQ(run.token_count, session.prompts().calibration.token_count);
  EXPECT_EQ(run.target, "kvtuner");
  EXPECT_EQ(run.device, "cuda:1");
  EXPECT_EQ(run.dtype, "bfloat16");
  EXPECT_EQ(run.prefill, "exact");
  EXPECT_EQ(run.seed, 4u);
  EXPECT_EQ(run.context, 1000);
  const LayerShape layer{.kv_heads = 1, .key_head_dim = 16, .value_head_dim = 16};
  EXPECT_EQ(run.layers, std::vector<LayerShape>(FakeRun::kLayers, layer));
  EXPECT_FALSE(run.noise_floor);
  EXPECT_EQ(fake.loads, 1);
}

TEST(ModelSession, FindsWrongArgumentsBeforeItLoadsWeights) {
  FakeRun fake;
  const auto opening = [&](auto change, const std::string& held_out = "") {
    RunInputs inputs = fake.inputs();
    change(inputs);
    return [&fake, inputs, held_out] { ModelSession(inputs, held_out, fake.loader()); };
  };
  EXPECT_THAT(opening([](RunInputs& inputs) { inputs.target = "vlm"; }),
              ThrowsMessage<Error>(
                  HasSubstr("found \"vlm\" (did you mean \"vllm\"?), expected one of kvtuner")));
  EXPECT_THAT(opening([](RunInputs& inputs) { inputs.prompts.files = {"none.jsonl"}; }),
              ThrowsMessage<Error>(HasSubstr("none.jsonl")));
  EXPECT_THAT(opening([](RunInputs&) {}, "gone.jsonl"),
              ThrowsMessage<Error>(HasSubstr("gone.jsonl")));
  EXPECT_THAT(opening([](RunInputs& inputs) { inputs.model = "nowhere"; }),
              ThrowsMessage<Error>(HasSubstr("nowhere")));
  EXPECT_EQ(fake.loads, 0);
}

TEST(ModelSession, LearnsScalesFromTheCalibrationPrompts) {
  FakeRun fake;
  RunInputs inputs = fake.inputs();
  inputs.target = "vllm";
  ModelSession session(inputs, "", fake.loader());
  ASSERT_EQ(fake.script.CountOf(FakeCallKind::kSetMaxima), 1u);
  EXPECT_EQ(fake.script.calls[0].prompts, session.prompts().calibration.prompts);
  // The fake refuses calibrated formats without.
  const PrecisionPlan plan = PrecisionPlan::Uniform(
      {KvFormatId::kFp8E4m3Calibrated, KvFormatId::kFp8E4m3Calibrated}, FakeRun::kLayers);
  EXPECT_NO_THROW(session.model().ScorePlans(std::span(&plan, 1),
                                             session.prompts().calibration.prompts, nullptr));
}

// Blocks of 16 values have no place in heads of 8 channels.
TEST(ModelSession, HasOnlyThePairsThatTheEngineCanStore) {
  FakeRun fake;
  RunInputs inputs = fake.inputs();
  inputs.target = "llama.cpp";
  WriteTinyCheckpoint({.layers = FakeRun::kLayers,
                       .hidden = 8,
                       .intermediate = 8,
                       .query_heads = 2,
                       .kv_heads = 1,
                       .head_dim = 8},
                      fake.model());
  EXPECT_THAT([&] { ModelSession(inputs, "", fake.loader()); },
              ThrowsMessage<Error>(HasSubstr("llama.cpp")));
}

TEST(ModelSession, CostsAreAtTheContextOfTheRun) {
  FakeRun fake;
  RunInputs inputs = fake.inputs();
  inputs.context = 1000;
  const ModelSession session(inputs, "", fake.loader());
  const PrecisionPlan plan = PrecisionPlan::Uniform(kKV4, FakeRun::kLayers);
  EXPECT_EQ(session.cost()(plan).bytes_per_token,
            CostOf(session.target(), plan, session.config(), 1000).bytes_per_token);
  EXPECT_FALSE(session.cost()(plan).padded_bytes_per_token);
}

TEST(CostFor, SaysWhatPaddingAddsWhereTheEnginePads) {
  ModelConfig config = FakeConfig(2);
  config.layers[1].window_tokens = 16;
  const Target& target = FindTarget("vllm");
  const PrecisionPlan plan{{kExactPair, target.pairs.front()}};
  const std::optional<double> padded = CostFor(target, config, 1000)(plan).padded_bytes_per_token;
  ASSERT_TRUE(padded);
  EXPECT_EQ(padded, PaddedBytesPerToken(target, plan, config, 1000));
}

TEST(ModelSession, MeasuresTheNoiseFloorOfTheCalibrationPrompts) {
  FakeRun fake;
  ModelSession session(fake.inputs(), "", fake.loader());
  EXPECT_EQ(session.MeasureNoiseFloor(), 1e-9);
  EXPECT_EQ(session.MeasureNoiseFloor(), 1e-9);
  const std::vector<FakeCall> measured = fake.script.CallsOf(FakeCallKind::kNoiseFloor);
  ASSERT_THAT(measured, SizeIs(1));
  EXPECT_EQ(measured[0].prompts, session.prompts().calibration.prompts);
}

TEST(ModelSession, SaysHowToTellMoreApartWhereThatHelps) {
  const auto said_in = [](const std::string& dtype) {
    FakeRun fake;
    fake.script.data_type_name = dtype;
    ModelSession session(fake.inputs(), "", fake.loader());
    SetLogLevel(LogLevel::kNormal);
    ::testing::internal::CaptureStderr();
    session.MeasureNoiseFloor();
    SetLogLevel(LogLevel::kQuiet);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(said_in("float32"), EndsWith("rounding in float32 makes as much\n"));
  EXPECT_THAT(said_in("bfloat16"),
              EndsWith("rounding in bfloat16 makes as much (--dtype float32 tells more apart)\n"));
}

// Changes the last weight, and puts the time of modification back: only the content tells.
void ChangeUnseen(const fs::path& weights) {
  const auto written = fs::last_write_time(weights);
  std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x3e');
  file.close();
  fs::last_write_time(weights, written);
}

TEST(OpenedModel, WeightsThatAreReadAgainMustStayTheSame) {
  FakeRun fake;
  fake.script.streams_weights = true;
  OpenedModel opened(fake.model(), {}, fake.loader());
  opened.hash();
  EXPECT_NO_THROW(opened.RequireUnchanged());
  ChangeUnseen(fake.model() / "model.safetensors");
  EXPECT_THAT([&] { opened.RequireUnchanged(); },
              ThrowsMessage<Error>(HasSubstr("when it was opened, expected a model that nothing "
                                             "writes while it is read")));
}

TEST(OpenedModel, WeightsInMemoryMayChangeOnDisk) {
  FakeRun fake;
  OpenedModel opened(fake.model(), {}, fake.loader());
  opened.hash();
  ChangeUnseen(fake.model() / "model.safetensors");
  EXPECT_NO_THROW(opened.RequireUnchanged());
}

}  // namespace
}  // namespace kvtune
