// sensitivity.json, and the stages that start from it: prune, cluster and diagnose, with what they
// print.
#include <nlohmann/json.hpp>

#include "lib/report/candidates_table.h"
#include "lib/report/diagnosis_text.h"
#include "search/cluster.h"
#include "search/diagnose.h"
#include "search/prune.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const Json json = ParseJson(fuzz::TextOf(data, size), "sensitivity.json");
    const SensitivityTable table = SensitivityTableFromJson(json, "sensitivity.json");
    ToJson(table);
    SensitivityText(table, 100);
    const Diagnosis diagnosis = Diagnose(table);
    ToJson(diagnosis);
    DiagnosisText(diagnosis, 100);
    const CandidateSet candidates = Prune(table, {});
    CandidatesText(candidates, 100);
    CandidateSetFromJson(ToJson(candidates), "candidates.json");
    const LayerGroups groups = Cluster(candidates, table, {});
    GroupsText(groups, 100);
    LayerGroupsFromJson(ToJson(groups), "groups.json");
  });
}
