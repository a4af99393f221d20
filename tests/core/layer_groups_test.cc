#include "lib/core/layer_groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

LayerGroups SmallGroups() {
  LayerGroups groups;
  groups.run = TestRun(4);
  groups.groups = {{{0, 3}, {kKV8, kKV4}}, {{1, 2}, {kK8V4}}};
  return groups;
}

LayerGroups ReadGroups(const Json& json) { return LayerGroupsFromJson(json, "groups.json"); }

TEST(LayerGroups, RoundTripKeepsEverything) {
  const Json json = ToJson(SmallGroups());
  EXPECT_EQ(
      json["groups"].dump(),
      R"([{"layers":[0,3],"candidates":["KV8","KV4"]},{"layers":[1,2],"candidates":["K8V4"]}])");
  const LayerGroups read = ReadGroups(ParseJson(DumpJson(json), "text"));
  EXPECT_EQ(ToJson(read), json);
  EXPECT_THAT(read.groups[0].layers, ElementsAre(0, 3));
  EXPECT_THAT(read.groups[1].candidates, ElementsAre(kK8V4));
}

TEST(LayerGroups, FormatsOfTheTargetSurvive) {
  LayerGroups groups = SmallGroups();
  groups.groups[0].candidates = {kKiviKV4};
  EXPECT_THAT(ReadGroups(ToJson(groups)).groups[0].candidates, ElementsAre(kKiviKV4));
}

TEST(LayerGroups, EveryLayerIsInExactlyOneGroup) {
  const auto reading = [](auto edit) {
    Json json = ToJson(SmallGroups());
    edit(json["groups"]);
    return [json] { ReadGroups(json); };
  };
  EXPECT_THAT(reading([](Json& groups) {
                groups[1]["layers"] = {1, 2, 3};
              }),
              ThrowsMessage<Error>(
                  StrEq("groups.json: groups[1]: \"layers\": found layer 3 again (first in "
                        "groups[0]), expected every layer in exactly one group")));
  EXPECT_THAT(reading([](Json& groups) {
                groups[1]["layers"] = {1, 1, 2};
              }),
              ThrowsMessage<Error>(HasSubstr("found layer 1 again")));
  EXPECT_THAT(reading([](Json& groups) { groups[1]["layers"] = {1}; }),
              ThrowsMessage<Error>(
                  StrEq("groups.json: \"groups\": found no group with layer 2, expected every "
                        "layer in exactly one group")));
  EXPECT_THAT(reading([](Json& groups) {
                groups[1]["layers"] = {1, 2, 4};
              }),
              ThrowsMessage<Error>(HasSubstr("found the layer 4, expected 0 to 3")));
  EXPECT_THAT(reading([](Json& groups) { groups[1]["layers"] = {-1}; }),
              ThrowsMessage<Error>(HasSubstr("found the layer -1")));
  EXPECT_THAT(reading([](Json& groups) { groups[1]["layers"] = Json::array(); }),
              ThrowsMessage<Error>(HasSubstr("found no layers")));
  EXPECT_THAT(reading([](Json& groups) {
                groups[1]["layers"] = {2, 1};
              }),
              ThrowsMessage<Error>(HasSubstr("found 1 after 2, expected ascending layers")));
  EXPECT_THAT(
      reading([](Json& groups) { std::swap(groups[0], groups[1]); }),
      ThrowsMessage<Error>(HasSubstr("found groups[0] before a group of an earlier layer")));
  EXPECT_THAT(reading([](Json& groups) { groups[0]["candidates"] = {"KV3"}; }),
              ThrowsMessage<Error>(HasSubstr("groups[0]: \"candidates\": found \"KV3\"")));
  EXPECT_THAT(reading([](Json& groups) { groups[0]["name"] = "first"; }),
              ThrowsMessage<Error>(HasSubstr("found the unknown key \"name\"")));
}

}  // namespace
}  // namespace kvtune
