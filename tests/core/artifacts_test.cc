#include "lib/core/artifacts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

TEST(Artifacts, OtherSchemaVersionIsRefused) {
  const Json json = {{"schema_version", 2}};
  EXPECT_THAT(
      [&] { OpenArtifact(json, "run/front.json"); },
      ThrowsMessage<Error>(StrEq("run/front.json: \"schema_version\": found 2, expected 1")));
  EXPECT_THAT([&] { OpenArtifact(Json::object(), "f"); },
              ThrowsMessage<Error>(HasSubstr("\"schema_version\": found nothing")));
  EXPECT_THAT([&] { OpenArtifact(Json::array(), "f"); },
              ThrowsMessage<Error>(StrEq("f: found [], expected a JSON object")));
}

TEST(Artifacts, NumbersThatAreNotFiniteAreNamed) {
  const double inf = std::numeric_limits<double>::infinity();
  const Json json = {{"schema_version", 1}, {"layers", {{{"e_o", 1.0}}, {{"e_o", inf}}}}};
  EXPECT_THAT(
      [&] { OpenArtifact(json, "f.json"); },
      ThrowsMessage<Error>(StrEq("f.json: layers[1]: e_o: found inf, expected a finite number")));
  EXPECT_NO_THROW(RequireFinite({{"a", {1, 2.5, "x", nullptr, true}}}, "f"));
  EXPECT_THAT(
      [&] {
        RequireFinite({1.0, std::numeric_limits<double>::quiet_NaN()}, "f");
      },
      ThrowsMessage<Error>(StrEq("f[1]: found nan, expected a finite number")));
  EXPECT_THAT(
      [&] {
        RequireFinite({inf, 1.0}, "f");
      },
      ThrowsMessage<Error>(StrEq("f[0]: found inf, expected a finite number")));
}

TEST(Artifacts, MissingFileNamesTheCommandThatWritesIt) {
  const TemporaryDirectory directory;
  const RunDirectory run(directory.path());
  EXPECT_THAT([&] { ReadArtifact(run.sensitivity(), Artifact::kSensitivity); },
              ThrowsMessage<Error>(StrEq("reading " + run.sensitivity().string() +
                                         ": found no such file, expected one written by "
                                         "`kvtune calibrate`")));
  WriteJsonFileAtomically(run.sensitivity(), {{"schema_version", 1}});
  EXPECT_EQ(ReadArtifact(run.sensitivity(), Artifact::kSensitivity)["schema_version"], 1);
}

TEST(Artifacts, AFileOfAnotherVersionIsRefusedWhenItIsRead) {
  const TemporaryDirectory directory;
  const RunDirectory run(directory.path());
  WriteJsonFileAtomically(run.front(), {{"schema_version", 7}});
  EXPECT_THAT([&] { ReadArtifact(run.front(), Artifact::kFront); },
              ThrowsMessage<Error>(HasSubstr("found 7, expected 1: a newer kvtune than")));
  WriteJsonFileAtomically(run.front(), {{"schema_version", 0}});
  EXPECT_THAT([&] { ReadArtifact(run.front(), Artifact::kFront); },
              ThrowsMessage<Error>(HasSubstr("found 0, expected 1: `kvtune search` writes")));
}

TEST(Artifacts, PairsAreWrittenWithTheirFormats) {
  Json json = Json::object();
  WritePairs(json, std::vector{kK8V4, kKiviKV4});
  EXPECT_EQ(json.dump(), R"({"pairs":["K8V4","KV4"],"pair_formats":[{"key":"int8","value":"int4"},)"
                         R"({"key":"kivi_int4","value":"kivi_int4"}]})");
  JsonFields fields(json, "f");
  EXPECT_THAT(ReadPairs(fields), ElementsAre(kK8V4, kKiviKV4));
  EXPECT_NO_THROW(fields.RequireNoOthers());
}

TEST(Artifacts, PairsWithOneLabelCannotBeWrittenTogether) {
  Json json = Json::object();
  EXPECT_THAT(
      [&] {
        WritePairs(json, std::vector{kKV4, kKiviKV4});
      },
      ThrowsMessage<Error>(HasSubstr("found the label KV4 twice (int4/int4 and "
                                     "kivi_int4/kivi_int4)")));
}

TEST(Artifacts, PairsAndFormatsMustAgree) {
  const auto reading = [](const std::string& text) {
    return [text] {
      const Json json = ParseJson(text, "f");
      JsonFields fields(json, "f");
      ReadPairs(fields);
    };
  };
  EXPECT_THAT(reading(R"({"pairs": ["KV4"], "pair_formats": []})"),
              ThrowsMessage<Error>(HasSubstr("found 0 entries, expected 1")));
  EXPECT_THAT(
      reading(R"({"pairs": ["KV4"], "pair_formats": [{"key": "int8", "value": "int8"}]})"),
      ThrowsMessage<Error>(HasSubstr("found the formats of KV8 at [0], expected those of KV4")));
  EXPECT_THAT(
      reading(R"({"pairs": ["KV4", "KV4"], "pair_formats": [{"key": "int4", "value": "int4"},)"
              R"({"key": "int4", "value": "int4"}]})"),
      ThrowsMessage<Error>(HasSubstr("found KV4 twice")));
  EXPECT_THAT(
      reading(R"({"pairs": ["KV4"], "pair_formats": [{"key": "int5", "value": "int4"}]})"),
      ThrowsMessage<Error>(
          StrEq("f: pair_formats[0]: \"key\": found \"int5\", expected one of " + FormatNames())));
  EXPECT_THAT(
      reading(R"({"pairs": ["KV4"], "pair_formats": [{"key": "int4", "value": "int4", "x": 1}]})"),
      ThrowsMessage<Error>(HasSubstr("found the unknown key \"x\"")));
}

TEST(Artifacts, LabelsMustBeKnownOnceAndNotNone) {
  const auto reading = [](const std::string& text) {
    return [text] {
      const Json json = ParseJson(text, "f");
      JsonFields fields(json, "f");
      ReadPairLabels(fields, "kept", std::vector{kKV8, kKV4});
    };
  };
  EXPECT_THAT(reading(R"({"kept": ["KV2"]})"), ThrowsMessage<Error>(HasSubstr("found \"KV2\"")));
  EXPECT_THAT(reading(R"({"kept": ["KV4", "KV4"]})"), ThrowsMessage<Error>(HasSubstr("KV4 twice")));
  EXPECT_THAT(reading(R"({"kept": []})"), ThrowsMessage<Error>(HasSubstr("found no pairs")));
}

TEST(Artifacts, DistinctPairsAreByBitsKeysFirst) {
  EXPECT_THAT(DistinctPairs({kKV2, kK4V8, kKV8, kK8V4, kKV2, kK4V8}),
              ElementsAre(kKV8, kK8V4, kK4V8, kKV2));
}

TEST(Artifacts, CountsAreNotNegative) {
  const Json json = {{"index", -1}};
  JsonFields fields(json, "f");
  EXPECT_THAT([&] { ReadCount(fields, "index"); },
              ThrowsMessage<Error>(StrEq("f: \"index\": found -1, expected 0 or more")));
}

}  // namespace
}  // namespace kvtune
