#include "lib/gate/gate_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Json ValidConfig() {
  return {{"schema_version", 1},    {"name", "demo"},       {"model", "../model"},
          {"model_hash", "h1"},     {"target", "kvtuner"},  {"plan", "KV4;0:KV8"},
          {"prompts", {"p.jsonl"}}, {"prompts_hash", "h2"}, {"limits", {{"kl_mean", 0.5}}}};
}

GateConfig Read(const Json& json) { return GateConfigFromJson(json, "configs/demo.json"); }

auto ReadingWith(const std::string& pointer, const Json& value) {
  Json json = ValidConfig();
  json[Json::json_pointer(pointer)] = value;
  return [json] { Read(json); };
}

TEST(GateConfig, PathsAreRelativeToTheFile) {
  const GateConfig config = Read(ValidConfig());
  EXPECT_EQ(config.model, "model");
  EXPECT_EQ(config.prompts.files.at(0), "configs/p.jsonl");
  EXPECT_EQ(config.prompts.max_tokens, 16384);
  EXPECT_EQ(config.limits.absolute.at(Metric::kKlMean), 0.5);
  Json bundled = ValidConfig();
  bundled["prompts"] = {"bundled"};
  EXPECT_TRUE(Read(bundled).prompts.files.empty());
}

TEST(GateConfig, ReadsBack) {
  Json json = ValidConfig();
  json["limits"]["relative"] = {{"kl_mean", 0.1}};
  json["tolerance"] = {{"top1_agreement", 0.01}};
  json["max_prompts"] = 7;
  const Json written = ToJson(Read(json));
  EXPECT_EQ(ToJson(Read(written)), written);
  EXPECT_EQ(written["model"], "../model");
  EXPECT_EQ(written["prompts"], Json({"p.jsonl"}));
  EXPECT_EQ(written["limits"], json["limits"]);
  EXPECT_EQ(written["tolerance"], json["tolerance"]);
}

TEST(GateConfig, NamesATask) {
  Json json = ValidConfig();
  json["task"] = {{"file", "t.json"},
                  {"limit", 50},
                  {"fewshot", 2},
                  {"apply_chat_template", true},
                  {"against", "exact"}};
  json["limits"]["accuracy"] = 0.8;
  json["tolerance"] = {{"accuracy", 0.02}};
  const GateConfig config = Read(json);
  ASSERT_TRUE(config.task);
  EXPECT_EQ(config.task->file, "configs/t.json");
  EXPECT_EQ(config.task->overrides.limit, 50);
  EXPECT_EQ(config.task->overrides.fewshot, 2);
  EXPECT_TRUE(config.task->apply_chat_template);
  EXPECT_EQ(config.task->against, AnswerReference::kExact);
  EXPECT_EQ(config.limits.absolute.at(Metric::kAccuracy), 0.8);
  EXPECT_EQ(config.limits.tolerance.at(Metric::kAccuracy), 0.02);
  const Json written = ToJson(config);
  EXPECT_EQ(written["task"], json["task"]);
  EXPECT_EQ(ToJson(Read(written)), written);
  EXPECT_EQ(Read(ValidConfig()).task.has_value(), false);
  json["task"] = {{"file", "t.json"}};
  EXPECT_EQ(Read(json).task->against, AnswerReference::kBaseline);
}

TEST(GateConfig, RefusesTasksThatAreMistyped) {
  EXPECT_THAT(ReadingWith("/task", {{"limit", 3}}), ThrowsMessage<Error>(HasSubstr("file")));
  EXPECT_THAT(ReadingWith("/task", {{"file", "t"}, {"limit", 0}}),
              ThrowsMessage<Error>(HasSubstr("found 0, expected at least 1")));
  EXPECT_THAT(ReadingWith("/task", {{"file", "t"}, {"apply_chat_template", "yes"}}),
              ThrowsMessage<Error>(HasSubstr("apply_chat_template")));
  EXPECT_THAT(ReadingWith("/task", {{"file", "t"}, {"against", "KV8"}}),
              ThrowsMessage<Error>(HasSubstr("found \"KV8\", expected baseline or exact")));
  for (const char* where : {"/limits/accuracy", "/tolerance/accuracy"}) {
    EXPECT_THAT(ReadingWith(where, 0.5),
                ThrowsMessage<Error>(HasSubstr("found accuracy without a task")));
  }
}

TEST(GateConfig, RefusesWhatIsMistyped) {
  EXPECT_THAT(
      ReadingWith("/extra", 1),
      ThrowsMessage<Error>(HasSubstr("configs/demo.json: found the unknown key \"extra\"")));
  EXPECT_THAT(ReadingWith("/limits/kl", 1),
              ThrowsMessage<Error>(HasSubstr("limits: found the unknown key \"kl\"")));
  EXPECT_THAT(ReadingWith("/limits/relative", {{"delta_nll", 1}}),
              ThrowsMessage<Error>(HasSubstr("unknown key \"delta_nll\"")));
  EXPECT_THAT(ReadingWith("/schema_version", 2),
              ThrowsMessage<Error>(HasSubstr("found 2, expected 1: a newer kvtune than")));
  EXPECT_THAT(ReadingWith("/name", ""), ThrowsMessage<Error>(HasSubstr("\"name\": found \"\"")));
  EXPECT_THAT(ReadingWith("/prompts", Json::array()),
              ThrowsMessage<Error>(HasSubstr("found [], expected one at least")));
  EXPECT_THAT(ReadingWith("/prompts", {"bundled", "x"}),
              ThrowsMessage<Error>(HasSubstr("expected it alone")));
  EXPECT_THAT(ReadingWith("/max_prompts", 0),
              ThrowsMessage<Error>(HasSubstr("found 0, expected at least 1")));
  EXPECT_THAT(ReadingWith("/seed", nullptr),
              ThrowsMessage<Error>(HasSubstr("found null, expected an integer")));
  EXPECT_THAT(ReadingWith("/prefill", "fast"),
              ThrowsMessage<Error>(HasSubstr("found \"fast\", expected quantized or exact")));
  EXPECT_THAT(ReadingWith("/limits/top1_agreement", 1.5),
              ThrowsMessage<Error>(HasSubstr("found 1.5, expected at most 1")));
  EXPECT_THAT(ReadingWith("/confidence", 1),
              ThrowsMessage<Error>(HasSubstr("expected at most 0.9999")));
  EXPECT_NO_THROW(ReadingWith("/limits/top1_agreement", 1)());
  EXPECT_NO_THROW(ReadingWith("/confidence", 0.9999)());
  EXPECT_THAT(
      [] {
        Json json = ValidConfig();
        json.erase("plan");
        Read(json);
      },
      ThrowsMessage<Error>(HasSubstr("\"plan\": found nothing, expected a string")));
}

TEST(GateConfig, RefusesLimitsThatContradictEachOther) {
  EXPECT_THAT(ReadingWith("/limits/kl_p999", 0.4),
              ThrowsMessage<Error>(HasSubstr("limits: found kl_p999 0.4 below kl_mean 0.5")));
  EXPECT_NO_THROW(ReadingWith("/limits/kl_p999", 0.5)());
}

TEST(GateConfig, TheSchemaInTheDocumentsIsTheReaders) {
  EXPECT_EQ(ReadFile(fs::path(KVTUNE_SOURCE_DIR) / "docs" / "gate_config.schema.json"),
            DumpJson(GateConfigSchema()))
      << "kvtune check --schema > docs/gate_config.schema.json";
}

TEST(GateConfig, TheShippedConfigsAreRead) {
  int count = 0;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(fs::path(KVTUNE_SOURCE_DIR) / "configs")) {
    if (entry.path().extension() != ".json") continue;
    EXPECT_NO_THROW(ReadGateConfig(entry.path()));
    ++count;
  }
  EXPECT_GT(count, 0);
}

TEST(GateConfig, SeedsUseAll64Bits) {
  Json json = ValidConfig();
  json["seed"] = UINT64_MAX;
  EXPECT_EQ(Read(json).seed, UINT64_MAX);
  EXPECT_EQ(ToJson(Read(json))["seed"], UINT64_MAX);
  for (const Json& wrong : {Json(-1), Json(1.5), Json("1"), Json(18446744073709551616.0)}) {
    EXPECT_THAT(ReadingWith("/seed", wrong),
                ThrowsMessage<Error>(HasSubstr("expected an integer from 0 to 2^64 - 1")));
  }
}

}  // namespace
}  // namespace kvtune
