// A config of the gate, with the target and the plan that it names.
#include <nlohmann/json.hpp>

#include "lib/gate/gate_config.h"
#include "lib/targets/target.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const Json json = ParseJson(fuzz::TextOf(data, size), "configs/gate.json");
    const GateConfig config = GateConfigFromJson(json, "configs/gate.json");
    const Target& target = FindTarget(config.target);
    RequireFormatsOf(target, ParsePlanSpec(config.plan, 4, target.shape.pairs), "the plan");
  });
}
