#include "lib/report/candidates_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;

TEST(CandidatesTable, SaysWhatDominatesEveryDroppedPair) {
  CandidateSet candidates;
  candidates.metric = "e_o";
  candidates.bits = "effective";
  candidates.layers = {{.index = 0, .kept = {kKV8, kKV4}, .dropped = {{kK4V8, kKV4}}},
                       {.index = 1, .kept = {kKV8, kK4V8, kKV4}, .dropped = {}}};
  EXPECT_EQ(
      CandidatesText(candidates, 0),
      "layer  kept          dropped\n"
      "    0  KV8 KV4       K4V8<KV4\n"
      "    1  KV8 K4V8 KV4  -\n"
      "Kept 5 of 6 pairs by e_o and effective bits. A<B: A is dropped, B has no more bits and "
      "no more error.\n");
}

TEST(CandidatesTable, GroupsNameTheirLayersAsRanges) {
  LayerGroups groups;
  groups.groups = {{.layers = {0, 1, 2, 5}, .candidates = {kKV8, kKV4}},
                   {.layers = {3, 4}, .candidates = {kKV8, kKV4, kKV2}}};
  EXPECT_EQ(GroupsText(groups, 0),
            "group  layers  candidates\n"
            "    0  0-2,5   KV8 KV4\n"
            "    1  3-4     KV8 KV4 KV2\n"
            "2 groups, 6 plans.\n");
}

TEST(CandidatesTable, SensitivityHasAColumnAPair) {
  SensitivityTable table;
  table.pairs = {kKV8, kKV4};
  LayerSensitivity layer;
  layer.errors.resize(2);
  layer.errors[0].e_o = 0.0125;
  layer.errors[1].e_o = 0.2;
  table.layers = {layer};
  EXPECT_THAT(SensitivityText(table, 0),
              HasSubstr("layer     KV8     KV4\n    0  0.0125  0.2000\n"));
}

}  // namespace
}  // namespace kvtune
