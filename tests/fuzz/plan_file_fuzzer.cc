// Plan files of every serving engine. A plan that was read is written in each form of its engine,
// and reads back as the same plan.
#include "lib/targets/target.h"
#include "tests/fuzz/fuzzer.h"

namespace kvtune {
namespace {

void RequireRoundTrip(const PrecisionPlan& plan, const Target& target) {
  ParetoFront front;
  front.run.target = target.name;
  front.run.version = "1.0";
  ScoredPlan scored;
  scored.name = "p07";
  for (const ExportSummary& format : target.exports) {
    const std::optional<Misfit> misfit = FindMisfit(plan, target, format.name);
    scored.plan = misfit ? misfit->nearest : plan;
    // mlx-optiq has no form for a plan without a quantized layer.
    if (scored.plan.is_exact() && format.name == "mlx-optiq") continue;
    const std::string text = ExportPlan(scored, front, format.name);
    fuzz::Require(
        ImportPlan(text, "export", plan.layers.size(), target) == scored.plan,
        "a plan reads back from " + std::string(format.name) + ": " + PlanSpec(scored.plan));
  }
}

}  // namespace
}  // namespace kvtune

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    std::string_view text = fuzz::TextOf(data, size);
    const Target& target = Targets()[fuzz::TakeChoice(text, Targets().size())];
    const size_t layers = 1 + fuzz::TakeChoice(text, 64);
    const PrecisionPlan plan = ImportPlan(text, "plan", layers, target);
    fuzz::Require(plan.layers.size() == layers, "a plan has the model's layers");
    RequireRoundTrip(plan, target);
  });
}
