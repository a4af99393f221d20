// groups.json.
#include <nlohmann/json.hpp>

#include "lib/core/layer_groups.h"
#include "lib/report/candidates_table.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const Json json = ParseJson(fuzz::TextOf(data, size), "groups.json");
    const LayerGroups groups = LayerGroupsFromJson(json, "groups.json");
    GroupsText(groups, 80);
    LayerGroupsFromJson(ToJson(groups), "output");
  });
}
