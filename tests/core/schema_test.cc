#include "lib/core/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/version.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

// Version 3 gave "loss" another name, version 4 left this kind of file as it was, and version 5
// counts bytes instead of bits.
constexpr std::array<SchemaStep, 3> kSteps = {
    [](Json& json) {
      json["kl_mean"] = json["loss"];
      json.erase("loss");
    },
    nullptr,
    [](Json& json) { json["bytes"] = json["bytes"].get<int64_t>() / 8; },
};
constexpr ArtifactKind kKind{
    .name = "scores.json", .made_by = "kvtune score", .oldest = 2, .steps = kSteps};

TEST(Schema, AFileOfAnEarlierVersionGoesThroughEveryStepAfterIt) {
  EXPECT_EQ(kKind.newest(), 5);
  EXPECT_EQ(Upgraded({{"schema_version", 2}, {"loss", 0.5}, {"bytes", 64}}, kKind, "f").dump(),
            R"({"schema_version":5,"bytes":8,"kl_mean":0.5})");
  EXPECT_EQ(Upgraded({{"schema_version", 3}, {"kl_mean", 0.5}, {"bytes", 64}}, kKind, "f").dump(),
            R"({"schema_version":5,"kl_mean":0.5,"bytes":8})");
  EXPECT_EQ(Upgraded({{"schema_version", 5}, {"bytes", 64}}, kKind, "f").dump(),
            R"({"schema_version":5,"bytes":64})");
}

TEST(Schema, ANewerFileNamesItsVersionAndThisProgram) {
  EXPECT_THAT(
      [] {
        Upgraded({{"schema_version", 6}}, kKind, "run/scores.json");
      },
      ThrowsMessage<Error>(StrEq("run/scores.json: \"schema_version\": found 6, expected 2 "
                                 "to 5: a newer kvtune than " +
                                 std::string(Version()) + " wrote the file")));
}

TEST(Schema, AFileThatIsTooOldNamesTheCommandThatWritesItAnew) {
  EXPECT_THAT(
      [] {
        Upgraded({{"schema_version", 1}}, kKind, "run/scores.json");
      },
      ThrowsMessage<Error>(StrEq("run/scores.json: \"schema_version\": found 1, expected 2 "
                                 "to 5: `kvtune score` writes the file anew")));
  EXPECT_THAT(
      [] {
        Upgraded({{"schema_version", 0}}, KindOf(Artifact::kGroups), "groups.json");
      },
      ThrowsMessage<Error>(HasSubstr("found 0, expected 1: `kvtune cluster` writes")));
}

TEST(Schema, WhatHasNoVersionIsLeftToItsReader) {
  for (const Json& json : {Json::array(), Json::object(), Json{{"schema_version", "1"}},
                           Json{{"schema_version", nullptr}}}) {
    EXPECT_EQ(Upgraded(json, kKind, "f"), json);
  }
}

TEST(Schema, EveryKindIsReadUpToTheVersionThatIsWritten) {
  for (const ArtifactKind& kind : ArtifactKinds()) {
    EXPECT_EQ(kind.newest(), kSchemaVersion) << kind.name;
    EXPECT_THAT(std::string(kind.made_by), HasSubstr("kvtune ")) << kind.name;
  }
  EXPECT_EQ(KindOf(Artifact::kRun).name, "run.json");
  EXPECT_EQ(KindOf(Artifact::kFront).name, "front.json");
  EXPECT_EQ(KindOf(Artifact::kBaseline).name, "a baseline");
}

}  // namespace
}  // namespace kvtune
