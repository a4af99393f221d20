#include "lib/run/gate_models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/run/run_prompts.h"
#include "lib/tokenizer/tokenizer.h"
#include "tests/support/fake_run.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

struct OneConfig {
  OneConfig() {
    config.name = "small";
    config.file = fake / "small.json";
    config.model = fake.model();
    config.target = "kvtuner";
    config.plan = "KV4;0:KV8";
    config.prompts.files = {fake.prompts()};
    config.prompts_hash = LoadPrompts(fake.inputs(), Checkpoint(fake.model()).config()).hash;
  }

  OpenedGateModels Open(const fs::path& cache = {}) {
    return OpenedGateModels({.device = "cpu", .threads = 2}, cache, fake.loader());
  }

  FakeRun fake;
  GateConfig config;
};

TEST(GateModels, PlanHashAndPromptsNeedNoWeights) {
  OneConfig one;
  OpenedGateModels models = one.Open();
  PrecisionPlan expected = PrecisionPlan::Uniform(kKV4, FakeRun::kLayers);
  expected.layers[0] = kKV8;
  EXPECT_EQ(models.PlanOf(one.config), expected);
  EXPECT_EQ(models.HashOf(one.config), Checkpoint(one.fake.model()).ContentHash());
  EXPECT_THAT(models.PromptsOf(one.config).prompts, SizeIs(16));
  EXPECT_GT(models.CostFor(one.config)(expected).bytes_per_token, 0);
  EXPECT_EQ(one.fake.loads, 0);
}

TEST(GateModels, ThePlansFileIsFoundBesideTheConfig) {
  OneConfig one;
  WriteJsonFileAtomically(one.fake / "plan.json", {{"spec", "KV2"}});
  one.config.plan = "plan.json";
  EXPECT_EQ(one.Open().PlanOf(one.config), PrecisionPlan::Uniform(kKV2, FakeRun::kLayers));
  one.config.file = one.fake / "configs" / "small.json";
  one.config.plan = "../plan.json";
  fs::create_directory(one.fake / "configs");
  EXPECT_EQ(one.Open().PlanOf(one.config), PrecisionPlan::Uniform(kKV2, FakeRun::kLayers));
}

TEST(GateModels, AModelIsLoadedOnceForAllConfigs) {
  OneConfig one;
  OpenedGateModels models = one.Open();
  const PromptSet prompts = models.PromptsOf(one.config);
  GateConfig other = one.config;
  other.plan = "KV2";
  other.model = one.fake.model() / ".." / "model";
  EXPECT_EQ(&models.ModelOf(one.config, prompts), &models.ModelOf(other, prompts));
  EXPECT_EQ(one.fake.loads, 1);
  EXPECT_EQ(one.fake.loaded_with.threads, 2);
  EXPECT_EQ(one.fake.loaded_with.prefill, PrefillMode::kQuantized);
  // A model runs in one prefill mode.
  other.prefill = PrefillMode::kExact;
  EXPECT_NE(&models.ModelOf(one.config, prompts), &models.ModelOf(other, prompts));
  EXPECT_EQ(one.fake.loads, 2);
  EXPECT_EQ(one.fake.loaded_with.prefill, PrefillMode::kExact);
}

TEST(GateModels, RunSaysWhatTheConfigSays) {
  OneConfig one;
  one.config.seed = 5;
  one.config.context = 1234;
  one.config.prefill = PrefillMode::kExact;
  one.config.prompts_hash = [&] {
    RunInputs inputs = one.fake.inputs();
    inputs.seed = 5;
    return LoadPrompts(inputs, Checkpoint(one.fake.model()).config()).hash;
  }();
  OpenedGateModels models = one.Open();
  const PromptSet prompts = models.PromptsOf(one.config);
  const Provenance run = models.RunOf(one.config, prompts);
  EXPECT_EQ(run.seed, 5u);
  EXPECT_EQ(run.context, 1234);
  EXPECT_EQ(run.prefill, "exact");
  EXPECT_EQ(run.target, "kvtuner");
  EXPECT_EQ(run.prompts_hash, one.config.prompts_hash);
  EXPECT_EQ(run.model_hash, models.HashOf(one.config));
}

TEST(GateModels, RefusesOtherPromptsThanTheConfigs) {
  OneConfig one;
  const std::string found = one.config.prompts_hash;
  one.config.prompts_hash = "xxh3:other";
  EXPECT_THAT([&] { one.Open().PromptsOf(one.config); },
              ThrowsMessage<Error>(AllOf(HasSubstr("small.json: \"prompts_hash\": found"),
                                         HasSubstr(found), HasSubstr("expected xxh3:other"))));
}

TEST(GateModels, RefusesTooFewPromptsForAnInterval) {
  OneConfig one;
  RunInputs inputs = one.fake.inputs();
  const ModelConfig model = Checkpoint(one.fake.model()).config();
  one.config.prompts.max_prompts = inputs.prompts.max_prompts = 5;
  one.config.prompts_hash = LoadPrompts(inputs, model).hash;
  EXPECT_NO_THROW(one.Open().PromptsOf(one.config));
  one.config.prompts.max_prompts = inputs.prompts.max_prompts = 4;
  one.config.prompts_hash = LoadPrompts(inputs, model).hash;
  EXPECT_THAT([&] { one.Open().PromptsOf(one.config); },
              ThrowsMessage<Error>(HasSubstr("found 4 prompts, expected at least 5")));
}

TEST(GateModels, ScalesAreLearnedForTargetsThatNeedThem) {
  OneConfig one;
  OpenedGateModels models = one.Open();
  const PromptSet prompts = models.PromptsOf(one.config);
  models.ModelOf(one.config, prompts);
  EXPECT_EQ(one.fake.script.CountOf(FakeCallKind::kSetMaxima), 0u);
  one.config.target = "vllm";
  models.ModelOf(one.config, prompts);
  EXPECT_EQ(one.fake.script.CountOf(FakeCallKind::kSetMaxima), 1u);
  EXPECT_EQ(one.fake.script.calls[0].prompts, prompts.prompts);
}

TEST(GateModels, TheExactPassIsKeptInTheCache) {
  OneConfig one;
  const fs::path cache = one.fake / "cache";
  const PromptSet prompts = one.Open().PromptsOf(one.config);
  const PrecisionPlan plan = PrecisionPlan::Uniform(kKV4, FakeRun::kLayers);
  OpenedGateModels first = one.Open(cache);
  const auto scored =
      first.ModelOf(one.config, prompts).ScorePlans(std::span(&plan, 1), prompts.prompts, nullptr);
  EXPECT_EQ(one.fake.script.exact_passes_run, 16);
  EXPECT_EQ(std::distance(fs::directory_iterator(cache), fs::directory_iterator()), 1);
  one.fake.script.exact_passes_run = 0;
  OpenedGateModels second = one.Open(cache);
  const auto again =
      second.ModelOf(one.config, prompts).ScorePlans(std::span(&plan, 1), prompts.prompts, nullptr);
  // The shortest prompt is run again, to know that this machine rounds the same.
  EXPECT_EQ(one.fake.script.exact_passes_run, 1);
  EXPECT_EQ(one.fake.script.CountOf(FakeCallKind::kRestore), 1u);
  EXPECT_EQ(again[0][3].kl_sum, scored[0][3].kl_sum);
}

// The bundled model's tokenizer, and a model that knows few sums under a plan at two bits.
struct OneTask : OneConfig {
  OneTask() {
    const fs::path demo = fs::path(KVTUNE_SOURCE_DIR) / "calib_data/demo_model";
    Json items = Json::array();
    for (int i = 0; i < 9; ++i) {
      items.push_back({{"prompt", "Please add one: what is " + std::to_string(i) + " + 1?"},
                       {"answer", "It is " + std::to_string(i + 1)}});
    }
    WriteJsonFileAtomically(
        fake / "sums.json",
        {{"protocol", "custom"}, {"stop", {"."}}, {"max_new_tokens", 20}, {"items", items}});
    config.model = demo;
    config.task = GateTask{.file = fake / "sums.json"};
    fake.script.writes =
        [tokenizer = std::make_shared<Tokenizer>(Tokenizer::FromFile(demo / "tokenizer.json"))](
            const PrecisionPlan& plan, const TokenIds& prompt) {
          const std::string text = tokenizer->Decode(prompt);
          const int number = text[text.find("is ") + 3] - '0';
          const int sum = plan.layers[0] == kKV2 && number > 2 ? 0 : number + 1;
          return tokenizer->Encode("It is " + std::to_string(sum) + ". No", SpecialTokens::kOmit);
        };
  }
};

TEST(GateModels, TheItemsOfATaskNeedNoWeights) {
  OneTask one;
  OpenedGateModels models = one.Open();
  const TaskItems items = models.TaskOf(one.config, {});
  EXPECT_EQ(items.count, 9u);
  EXPECT_EQ(one.fake.loads, 0);
  one.config.task->overrides.limit = 8;
  EXPECT_EQ(models.TaskOf(one.config, {}).count, 8u);
  one.config.task->overrides.limit = 0;
  EXPECT_EQ(models.TaskOf(one.config, {}).hash, items.hash);
  // Another right answer makes other verdicts, though nothing else is generated.
  Json task = ReadJsonFile(one.fake / "sums.json");
  task["items"][3]["answer"] = "It is 5";
  WriteJsonFileAtomically(one.fake / "sums.json", task);
  EXPECT_NE(models.TaskOf(one.config, {}).hash, items.hash);
}

TEST(GateModels, PlansAnswerTheTask) {
  OneTask one;
  OpenedGateModels models = one.Open();
  models.TaskOf(one.config, {});
  const size_t layers = Checkpoint(one.config.model).config().layers.size();
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kKV8, layers),
                                            PrecisionPlan::Uniform(kKV2, layers)};
  const auto answers = models.AnswersOf(one.config, plans);
  EXPECT_EQ(answers.at(0), std::vector<char>(9, 1));
  EXPECT_EQ(answers.at(1), (std::vector<char>{1, 1, 1, 0, 0, 0, 0, 0, 0}));
}

TEST(GateModels, RefusesATaskAmongItsPrompts) {
  OneTask one;
  const Tokenizer tokenizer = Tokenizer::FromFile(one.config.model / "tokenizer.json");
  PromptSet prompts;
  prompts.prompts = {
      tokenizer.Encode("Q: Please add one: what is 4 + 1? A:", SpecialTokens::kOmit)};
  EXPECT_THAT([&] { one.Open().TaskOf(one.config, prompts); },
              ThrowsMessage<Error>(HasSubstr("found its item 5 among the gate's prompts")));
}

TEST(GateModels, WithoutACacheNothingIsKept) {
  OneConfig one;
  OpenedGateModels models = one.Open();
  models.ModelOf(one.config, models.PromptsOf(one.config));
  EXPECT_EQ(one.fake.script.CountOf(FakeCallKind::kExactPasses), 0u);
}

TEST(GateModels, NoiseFloorIsMeasuredOnceForAModelAndItsPrompts) {
  OneConfig one;
  OpenedGateModels models = one.Open();
  const PromptSet prompts = models.PromptsOf(one.config);
  GateConfig other = one.config;
  other.name = "other";
  EXPECT_EQ(models.NoiseFloorOf(one.config, prompts), 1e-9);
  EXPECT_EQ(models.NoiseFloorOf(other, prompts), 1e-9);
  EXPECT_EQ(one.fake.script.CountOf(FakeCallKind::kNoiseFloor), 1u);
}

}  // namespace
}  // namespace kvtune
