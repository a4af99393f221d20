// front.json, and what is made of it: tables, picks and exports.
#include <nlohmann/json.hpp>

#include "lib/core/pareto_front.h"
#include "lib/report/front_table.h"
#include "lib/targets/target.h"
#include "search/pick.h"
#include "tests/fuzz/fuzzer.h"

namespace kvtune {
namespace {

void Pick(const ParetoFront& front, const PickConstraints& constraints) {
  try {
    PickPlan(front, constraints);
  } catch (const Error&) {
    // No plan satisfies them. Others may be satisfied.
  }
}

void ExportAll(const ParetoFront& front) {
  const Target& target = FindTarget(front.run.target);
  for (const ScoredPlan& plan : front.plans) {
    for (const ExportSummary& format : target.exports) {
      try {
        ExportPlan(plan, front, format.name);
      } catch (const Error&) {
        // The format cannot express the plan. Another one may.
      }
    }
  }
}

}  // namespace
}  // namespace kvtune

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const Json json = ParseJson(fuzz::TextOf(data, size), "front.json");
    const ParetoFront front = ParetoFrontFromJson(json, "front.json");
    ParetoFrontFromJson(ToJson(front), "output");
    FrontTable(front, 100);
    UniformSentence(front);
    TieSentence(front);
    PaddingSentence(front);
    SearchSentences(front);
    Pick(front, {.max_loss = 0.01});
    Pick(front, {.max_bits = 5});
    Pick(front, {.max_bytes = 1000});
    Pick(front, {.lossless = true});
    ExportAll(front);
  });
}
