// A plan that is written out, such as KV4;0:KV8. What it is written back as reads as the same plan.
#include "lib/targets/target.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    std::string_view text = fuzz::TextOf(data, size);
    const Target& target = Targets()[fuzz::TakeChoice(text, Targets().size())];
    const size_t layers = 1 + fuzz::TakeChoice(text, 64);
    const PrecisionPlan plan = ParsePlanSpec(text, layers, target.shape.pairs);
    fuzz::Require(plan.layers.size() == layers, "a plan has the model's layers");
    // Labels such as KV8 mean something only together with their target.
    RequireFormatsOf(target, plan, "plan");
    fuzz::Require(ParsePlanSpec(PlanSpec(plan), layers, target.shape.pairs) == plan,
                  "a spec reads back: " + PlanSpec(plan));
  });
}
