// run.json.
#include <nlohmann/json.hpp>

#include "lib/run/run_session.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const Json json = ParseJson(fuzz::TextOf(data, size), "run.json");
    const RunRecord record = RunRecordFromJson(json, "run.json");
    Differences(record.run, {});
    for (const Stage stage : kStages) {
      const auto found = record.stages.find(StageName(stage));
      if (found == record.stages.end()) continue;
      fuzz::Require((*found)["options"].is_object() && (*found)["finished"].is_boolean(),
                    "a stage that started has options");
    }
  });
}
