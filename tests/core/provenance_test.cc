#include "lib/core/provenance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

Provenance ReadProvenanceBack(const Json& json) {
  return ProvenanceFromJson(JsonFields(json, "run"));
}

TEST(Provenance, RoundTripKeepsEveryField) {
  const Provenance run = TestRun(28);
  const Json json = ToJson(run);
  const Provenance read = ReadProvenanceBack(ParseJson(DumpJson(json), "text"));
  EXPECT_EQ(ToJson(read), json);
  EXPECT_EQ(read.seed, UINT64_MAX);
  EXPECT_EQ(read.layer_count(), 28);
  EXPECT_THAT(read.prompts, ElementsAre("prompts.jsonl"));
}

TEST(Provenance, WhatIsUsualIsLeftOut) {
  Provenance run = TestRun(2);
  for (const char* key : {"prompt_template", "scales", "kernels", "module_prefix"}) {
    EXPECT_FALSE(ToJson(run).contains(key)) << key;
  }
  run.prompt_template = "Question: {question}";
  run.scales = CacheScales::kCheckpoint;
  run.kernels = KernelChoice::kDefault;
  run.module_prefix = "language_model.model.";
  const Provenance read = ReadProvenanceBack(ToJson(run));
  EXPECT_EQ(read.prompt_template, run.prompt_template);
  EXPECT_EQ(read.scales, run.scales);
  EXPECT_EQ(read.kernels, run.kernels);
  EXPECT_EQ(read.module_prefix, run.module_prefix);
  EXPECT_THAT(ScoreDifferences(TestRun(2), run),
              ElementsAre("--scales: found calibrated there, expected checkpoint"));
  EXPECT_THAT(Differences(TestRun(2), run),
              ElementsAre("--scales: found calibrated there, expected checkpoint",
                          "--kernels: found all there, expected default"));
}

TEST(Provenance, LayersOfOneShapeShareAnEntry) {
  Provenance run = TestRun(8);
  EXPECT_EQ(ToJson(run)["layer_shapes"], Json::parse(R"([{"layers": "0-7", "kv_heads": 2,
      "key_head_dim": 64, "value_head_dim": 64, "window_tokens": 0}])"));
  for (const size_t sliding : {1, 2, 3, 5}) run.layers[sliding].window_tokens = 512;
  run.layers[7].value_head_dim = 128;
  const Json json = ToJson(run);
  EXPECT_EQ(json["layer_shapes"].size(), 3);
  EXPECT_EQ(json["layer_shapes"][0]["layers"], "0,4,6");
  EXPECT_EQ(json["layer_shapes"][1]["layers"], "1-3,5");
  EXPECT_EQ(json["layer_shapes"][2]["layers"], "7");
  EXPECT_EQ(ReadProvenanceBack(json).layers, run.layers);
}

TEST(Provenance, EveryLayerNeedsOneShape) {
  const auto error = [](const char* first, const char* second) -> std::string {
    Json json = ToJson(TestRun(4));
    json["layer_shapes"].push_back(json["layer_shapes"][0]);
    json["layer_shapes"][0]["layers"] = first;
    json["layer_shapes"][1]["layers"] = second;
    try {
      ReadProvenanceBack(json);
      return "no error";
    } catch (const Error& found) {
      return found.what();
    }
  };
  EXPECT_EQ(error("0-1", "2-3"), "no error");
  EXPECT_THAT(error("0-1", "3"), HasSubstr("\"layer_shapes\": found no shape of layer 2"));
  EXPECT_THAT(error("0-2", "2-3"), HasSubstr("layer_shapes[1]: \"layers\": found layer 2 twice"));
  for (const char* wrong : {"", "3-2", "4", "2-4", "2,", "a", "-1", "2--3", " 2"}) {
    EXPECT_THAT(error("0-1", wrong), HasSubstr("expected ranges of the layers 0 to 3")) << wrong;
  }
}

TEST(Provenance, ShapesAreSizes) {
  for (const char* key : {"kv_heads", "key_head_dim", "value_head_dim"}) {
    Json json = ToJson(TestRun(2));
    json["layer_shapes"][0][key] = 0;
    EXPECT_THAT([&] { ReadProvenanceBack(json); },
                ThrowsMessage<Error>(HasSubstr("found 0, expected 1 or more")));
  }
  Json json = ToJson(TestRun(2));
  json["layer_shapes"][0]["window_tokens"] = -1;
  EXPECT_THAT([&] { ReadProvenanceBack(json); },
              ThrowsMessage<Error>(HasSubstr("found -1, expected 0 or more")));
}

// Version 0.1.0 kept the heads of the first layer.
TEST(Provenance, RunsOfEarlierVersionsAreOfOneShape) {
  Json json = ToJson(TestRun(3));
  json.erase("layer_shapes");
  EXPECT_THAT([&] { ReadProvenanceBack(json); },
              ThrowsMessage<Error>(HasSubstr("\"kv_heads\": found nothing")));
  json["kv_heads"] = 2;
  json["head_dim"] = 64;
  EXPECT_EQ(ReadProvenanceBack(json).layers, TestRun(3).layers);
}

// A number alone must not make the reader allocate as much as it says.
TEST(Provenance, LayersAreAsManyAsAModelMayHave) {
  Json json = ToJson(TestRun(1));
  for (const int64_t count : {int64_t{0}, int64_t{10'001}, INT64_MAX}) {
    json["layer_count"] = count;
    EXPECT_THAT([&] { ReadProvenanceBack(json); },
                ThrowsMessage<Error>(StrEq("run: \"layer_count\": found " + std::to_string(count) +
                                           ", expected 1 to 10000")));
  }
}

TEST(Provenance, UnknownAndMissingKeysAreRefused) {
  Json json = ToJson(TestRun(1));
  json["sed"] = 1;
  EXPECT_THAT([&] { ReadProvenanceBack(json); },
              ThrowsMessage<Error>(HasSubstr("found the unknown key \"sed\"")));
  json.erase("sed");
  json.erase("seed");
  EXPECT_THAT([&] { ReadProvenanceBack(json); },
              ThrowsMessage<Error>(HasSubstr("\"seed\": found nothing")));
  json["seed"] = -1;
  EXPECT_THAT([&] { ReadProvenanceBack(json); },
              ThrowsMessage<Error>(
                  StrEq("run: \"seed\": found -1, expected an integer from 0 to 2^64 - 1")));
}

TEST(Provenance, EqualRunsDoNotDiffer) {
  EXPECT_THAT(Differences(TestRun(2), TestRun(2)), IsEmpty());
}

TEST(Provenance, HashesDecideNotPaths) {
  Provenance moved = TestRun(2);
  moved.model = "/elsewhere/small";
  moved.prompts = {"/elsewhere/prompts.jsonl"};
  EXPECT_THAT(Differences(TestRun(2), moved), IsEmpty());
  moved.model_hash = "xxh3:3";
  EXPECT_THAT(Differences(TestRun(2), moved),
              ElementsAre("--model: found the content xxh3:00000000000000000000000000000001 "
                          "(models/small) there, expected xxh3:3 (/elsewhere/small)"));
}

TEST(Provenance, EveryDifferenceNamesItsOption) {
  Provenance other = TestRun(2);
  other.version = "0.2.0";
  other.prompts_hash = "xxh3:4";
  other.prompt_count = 8;
  other.target = "kvtuner-kivi";
  other.device = "cuda:0";
  other.dtype = "bfloat16";
  other.prefill = "exact";
  other.seed = 0;
  other.context = 4096;
  EXPECT_THAT(
      Differences(TestRun(2), other),
      ElementsAre("kvtune's version: found 0.1.0 there, expected 0.2.0",
                  "--prompts, --max-prompts or --max-tokens: found 4 prompts of 1000 tokens "
                  "(prompts.jsonl) there, expected 8 of 1000 (prompts.jsonl)",
                  "--target: found kvtuner there, expected kvtuner-kivi",
                  "--device: found cpu there, expected cuda:0",
                  "--dtype: found float32 there, expected bfloat16",
                  "--prefill: found quantized there, expected exact",
                  "--seed: found 18446744073709551615 there, expected 0",
                  "--context: found 8192 there, expected 4096"));
}

}  // namespace
}  // namespace kvtune
