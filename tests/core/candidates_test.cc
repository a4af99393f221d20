#include "lib/core/candidates.h"

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

CandidateSet SmallSet() {
  CandidateSet candidates;
  candidates.run = TestRun(2);
  candidates.metric = "e_o";
  candidates.bits = "effective";
  candidates.layers = {{0, {kKV8, kKV4}, {{kK4V8, kKV4}}}, {1, {kKV4}, {}}};
  return candidates;
}

CandidateSet ReadCandidates(const Json& json) {
  return CandidateSetFromJson(json, "candidates.json");
}

TEST(Candidates, RoundTripKeepsEverything) {
  const Json json = ToJson(SmallSet());
  EXPECT_EQ(json["pairs"], Json({"KV8", "K4V8", "KV4"}));
  EXPECT_EQ(json["layers"].dump(),
            R"([{"index":0,"kept":["KV8","KV4"],"dropped":[{"pair":"K4V8","dominated_by":"KV4"}]},)"
            R"({"index":1,"kept":["KV4"],"dropped":[]}])");
  const CandidateSet read = ReadCandidates(ParseJson(DumpJson(json), "text"));
  EXPECT_EQ(ToJson(read), json);
  EXPECT_THAT(read.layers[0].kept, ElementsAre(kKV8, kKV4));
  EXPECT_EQ(read.layers[0].dropped[0].pair, kK4V8);
  EXPECT_EQ(read.layers[0].dropped[0].dominated_by, kKV4);
  EXPECT_EQ(read.metric, "e_o");
}

TEST(Candidates, MistakesNameFieldAndLayer) {
  const auto reading = [](auto edit) {
    Json json = ToJson(SmallSet());
    edit(json);
    return [json] { ReadCandidates(json); };
  };
  EXPECT_THAT(
      reading([](Json& json) { json["metric"] = "e_x"; }),
      ThrowsMessage<Error>(StrEq("candidates.json: \"metric\": found \"e_x\", expected \"e_o\" or "
                                 "\"kl\"")));
  EXPECT_THAT(reading([](Json& json) { json["bits"] = "some"; }),
              ThrowsMessage<Error>(HasSubstr("\"bits\": found \"some\"")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][1]["kept"] = Json::array(); }),
              ThrowsMessage<Error>(HasSubstr("layers[1]: \"kept\": found no pairs")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][1]["index"] = 2; }),
              ThrowsMessage<Error>(HasSubstr("layers[1]: \"index\": found 2, expected 1")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][0]["dropped"][0]["pair"] = "KV8"; }),
              ThrowsMessage<Error>(HasSubstr("found KV8 twice in one layer")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][0]["dropped"][0]["dominated_by"] = "K4V8"; }),
              ThrowsMessage<Error>(HasSubstr("found K4V8, expected a kept pair")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][0]["dropped"][0]["pair"] = "KV3"; }),
              ThrowsMessage<Error>(HasSubstr("dropped[0]: \"pair\": found \"KV3\"")));
  EXPECT_THAT(reading([](Json& json) { json["layers"].erase(1); }),
              ThrowsMessage<Error>(HasSubstr("found 1 layers, expected 2")));
  EXPECT_THAT(reading([](Json& json) { json["layers"][0]["keep"] = 1; }),
              ThrowsMessage<Error>(HasSubstr("layers[0]: found the unknown key \"keep\"")));
}

}  // namespace
}  // namespace kvtune
