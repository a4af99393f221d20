#include "lib/gate/baseline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/gate/gate_test_data.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

Baseline TestBaseline(const std::string& name) {
  Provenance run = TestRun(2);
  run.noise_floor = 1e-9;
  return {.name = name,
          .run = std::move(run),
          .plan = PrecisionPlan::Uniform({KvFormatId::kInt4, KvFormatId::kInt4}, 2),
          .measured = EvenMeasurement({0.1F, 0.2F, 0.3F})};
}

TEST(Baseline, OneFileServesSeveralConfigs) {
  const TemporaryDirectory folder;
  const auto file = folder / "new";
  WriteBaseline(file / "b.json", TestBaseline("a"));
  WriteBaseline(file / "b.json", TestBaseline("b"));
  Baseline changed = TestBaseline("a");
  changed.run.noise_floor = 0.5;
  WriteBaseline(file / "b.json", changed);
  const std::vector<Baseline> read = ReadBaselines(file / "b.json");
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(FindBaseline(read, "a", "b.json").run.noise_floor, 0.5);
  EXPECT_EQ(ToJson(FindBaseline(read, "b", "b.json").measured), ToJson(TestBaseline("b").measured));
  EXPECT_THAT([&] { FindBaseline(read, "c", "b.json"); },
              ThrowsMessage<Error>(HasSubstr("found only b, a, expected one of c")));
}

TEST(Baseline, RefusesFilesThatAreNone) {
  const TemporaryDirectory folder;
  const auto file = folder / "b.json";
  const auto read = [&] { ReadBaselines(file); };
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("found nothing, expected a file")));
  WriteFileAtomically(file, "\n");
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("found an empty file")));
  WriteBaseline(folder / "whole.json", TestBaseline("a"));
  const std::string whole = ReadFile(folder / "whole.json");
  WriteFileAtomically(file, whole.substr(0, whole.size() / 2));
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("b.json: not valid JSON at line")));
  Json json = ReadJsonFile(folder / "whole.json");
  json["schema_version"] = 99;
  WriteJsonFileAtomically(file, json);
  EXPECT_THAT(read, ThrowsMessage<Error>(AllOf(HasSubstr("99"), HasSubstr("expected 1"))));
  json = ReadJsonFile(folder / "whole.json");
  json["baselines"].push_back(json["baselines"][0]);
  WriteJsonFileAtomically(file, json);
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("found two of the name a")));
  json = ReadJsonFile(folder / "whole.json");
  json["baselines"][0]["run"].erase("noise_floor");
  WriteJsonFileAtomically(file, json);
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("found no noise_floor")));
  json["baselines"].clear();
  WriteJsonFileAtomically(file, json);
  EXPECT_THAT(read, ThrowsMessage<Error>(HasSubstr("found none, expected one at least")));
}

TEST(Baseline, RefusesOtherInputsWithBothValues) {
  const Baseline baseline = TestBaseline("a");
  const auto comparing = [&](auto change, ModelChange model = ModelChange::kRefuse) {
    Provenance now = baseline.run;
    change(now);
    return [=] { RequireComparable(baseline, now, model, "b.json"); };
  };
  EXPECT_NO_THROW(comparing([](Provenance&) {})());
  EXPECT_NO_THROW(comparing([](Provenance& now) {
    now.version = "9";
    now.device = "cuda:3";
    now.model = "elsewhere";
  })());
  const auto other_model = [](Provenance& now) { now.model_hash = "xxh3:other"; };
  EXPECT_THAT(comparing(other_model),
              ThrowsMessage<Error>(AllOf(HasSubstr("model_hash: found " + baseline.run.model_hash),
                                         HasSubstr("expected xxh3:other"))));
  EXPECT_NO_THROW(comparing(other_model, ModelChange::kAccept)());
  EXPECT_THAT(comparing([](Provenance& now) { now.prompts_hash = "p"; }),
              ThrowsMessage<Error>(HasSubstr("prompts_hash: found")));
  EXPECT_THAT(comparing([](Provenance& now) { now.target = "t"; }),
              ThrowsMessage<Error>(HasSubstr("expected t as it is now")));
  EXPECT_THAT(comparing([](Provenance& now) { now.context = 1; }),
              ThrowsMessage<Error>(HasSubstr("context: found")));
}

TEST(Baseline, SaysWhatChanged) {
  const Baseline before = TestBaseline("a");
  EXPECT_THAT(ChangesOf(before, before), IsEmpty());
  Baseline after = before;
  after.plan.layers[1] = kExactPair;
  after.measured.bytes_per_token = 200;
  EXPECT_THAT(ChangesOf(before, after),
              ElementsAre("plan: KV4 -> KV4;1:exact", "bytes_per_token: 100 -> 200"));
}

TEST(Baseline, RefusesANoiseFloorThatWouldLetAnyChangePass) {
  const TemporaryDirectory folder;
  const auto file = folder / "b.json";
  WriteBaseline(file, TestBaseline("a"));
  const Json whole = ReadJsonFile(file);
  for (const double floor : {1e308, 1.5, -1e-9}) {
    Json json = whole;
    json["baselines"][0]["run"]["noise_floor"] = floor;
    WriteJsonFileAtomically(file, json);
    EXPECT_THAT([&] { ReadBaselines(file); },
                ThrowsMessage<Error>(HasSubstr("\"noise_floor\": found")));
    Baseline baseline = TestBaseline("a");
    baseline.run.noise_floor = floor;
    EXPECT_THAT([&] { WriteBaseline(folder / "new.json", baseline); },
                ThrowsMessage<Error>(HasSubstr("\"noise_floor\": found")));
  }
}

Baseline AnsweredBaseline() {
  Baseline baseline = TestBaseline("a");
  baseline.measured.answers = {1, 0, 1};
  baseline.task_hash = "t1";
  return baseline;
}

TEST(Baseline, RefusesAnswersToOtherItems) {
  const auto comparing = [](const Baseline& baseline, const std::string& hash, size_t count) {
    return [=] { RequireSameTask(baseline, hash, count, "b.json"); };
  };
  EXPECT_NO_THROW(comparing(AnsweredBaseline(), "t1", 3)());
  EXPECT_NO_THROW(comparing(TestBaseline("a"), "", 0)());
  EXPECT_THAT(comparing(AnsweredBaseline(), "t1", 4),
              ThrowsMessage<Error>(HasSubstr("items of the task: found 3, expected 4")));
  EXPECT_THAT(comparing(AnsweredBaseline(), "t2", 3),
              ThrowsMessage<Error>(HasSubstr("task_hash: found t1, expected t2")));
  EXPECT_THAT(comparing(TestBaseline("a"), "t1", 3),
              ThrowsMessage<Error>(HasSubstr("items of the task: found 0, expected 3")));
  EXPECT_THAT(comparing(AnsweredBaseline(), "", 0),
              ThrowsMessage<Error>(HasSubstr("items of the task: found 3, expected 0")));
}

TEST(Baseline, KeepsAnswersWithTheHashOfTheirItems) {
  const TemporaryDirectory folder;
  const auto file = folder / "b.json";
  WriteBaseline(file, AnsweredBaseline());
  const Baseline read = ReadBaselines(file).at(0);
  EXPECT_EQ(read.task_hash, "t1");
  EXPECT_EQ(read.measured.answers, AnsweredBaseline().measured.answers);
  Json json = ReadJsonFile(file);
  EXPECT_NEAR(json["baselines"][0]["values"]["accuracy"].get<double>(), 2.0 / 3, 1e-12);
  json["baselines"][0].erase("task_hash");
  WriteJsonFileAtomically(file, json);
  EXPECT_THAT([&] { ReadBaselines(file); },
              ThrowsMessage<Error>(HasSubstr("found answers without it")));
  Baseline after = AnsweredBaseline();
  after.measured.answers = {1, 1, 1};
  EXPECT_THAT(ChangesOf(AnsweredBaseline(), after), ElementsAre("accuracy: 0.666667 -> 1"));
  EXPECT_THAT(ChangesOf(TestBaseline("a"), after), ElementsAre("task_hash: none -> t1"));
}

TEST(Baseline, RefusesOtherCountsOfPromptsOrTokens) {
  const Baseline baseline = TestBaseline("a");
  const auto comparing = [&](const Measurement& now) {
    return [&baseline, now] { RequireSameCounts(baseline, now, "b.json"); };
  };
  EXPECT_NO_THROW(comparing(EvenMeasurement({0.5F, 0.5F, 0.5F}))());
  EXPECT_THAT(comparing(EvenMeasurement({0.1F, 0.2F})),
              ThrowsMessage<Error>(HasSubstr("prompts: found 3, expected 2")));
  EXPECT_THAT(comparing(EvenMeasurement({0.1F, 0.2F, 0.3F, 0.4F})),
              ThrowsMessage<Error>(HasSubstr("prompts: found 3, expected 4")));
  Measurement longer = baseline.measured;
  longer.prompts[1].tokens = 11;
  EXPECT_THAT(comparing(longer),
              ThrowsMessage<Error>(HasSubstr("tokens of prompt 1: found 10, expected 11")));
}

TEST(Baseline, TakesNoiseFloorsFromNoneToOneNat) {
  const TemporaryDirectory folder;
  Baseline baseline = TestBaseline("a");
  for (const double floor : {0.0, 1e-9, 1.0}) {
    baseline.run.noise_floor = floor;
    EXPECT_NO_THROW(WriteBaseline(folder / "b.json", baseline));
    EXPECT_EQ(ReadBaselines(folder / "b.json").at(0).run.noise_floor, floor);
  }
  for (const double floor : {-1e-9, 1.0001}) {
    baseline.run.noise_floor = floor;
    EXPECT_THROW(WriteBaseline(folder / "b.json", baseline), Error);
  }
}

TEST(Baseline, HasAPairOfEveryLayer) {
  const TemporaryDirectory folder;
  WriteBaseline(folder / "b.json", TestBaseline("a"));
  Json json = ReadJsonFile(folder / "b.json");
  json["baselines"][0]["layers"].erase(1);
  WriteJsonFileAtomically(folder / "b.json", json);
  EXPECT_THAT(
      [&] { ReadBaselines(folder / "b.json"); },
      ThrowsMessage<Error>(HasSubstr("\"layers\": found 1 layers, expected 2 as in \"run\"")));
}

TEST(Baseline, ChangesAreThoseThatPeopleAsk) {
  const Baseline before = TestBaseline("a");
  EXPECT_THAT(ChangesOf(before, before), IsEmpty());
  Baseline after = before;
  after.run.model_hash = "h";
  after.run.prompts_hash = "p";
  after.run.target = "t";
  after.run.dtype = "d";
  after.run.version = "v";
  after.plan = PrecisionPlan::Uniform({KvFormatId::kInt8, KvFormatId::kInt4}, 2);
  after.measured = EvenMeasurement({0.1F, 0.2F, 0.6F}, 101);
  EXPECT_THAT(ChangesOf(before, after),
              ElementsAre("model_hash: " + before.run.model_hash + " -> h",
                          "prompts_hash: " + before.run.prompts_hash + " -> p",
                          "target: kvtuner -> t", "dtype: float32 -> d", "version: 0.1.0 -> v",
                          "plan: KV4 -> K8V4", "kl_mean: 0.2 -> 0.3", "kl_p999: 0.3 -> 0.6",
                          "delta_nll: 0.2 -> 0.3", "bytes_per_token: 100 -> 101"));
}

}  // namespace
}  // namespace kvtune
