// A line that another program sends to kvtune evaluate --stdin.
#include "lib/run/plan_line.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    std::string_view text = fuzz::TextOf(data, size);
    const Target& target = Targets()[fuzz::TakeChoice(text, Targets().size())];
    const size_t layers = 1 + fuzz::TakeChoice(text, 64);
    const PlanLine line = ParsePlanLine(text, "line 1", layers, target);
    fuzz::Require(line.is_array || line.plans.size() == 1, "a line that is no array has one plan");
    for (const NamedPlan& plan : line.plans) {
      fuzz::Require(plan.plan.layers.size() == layers, "a plan has the model's layers");
      RequireFormatsOf(target, plan.plan, "plan");
    }
  });
}
