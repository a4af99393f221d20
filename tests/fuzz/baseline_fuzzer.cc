// Baselines of the gate, and the verdict on a plan that measures exactly like its baseline.
#include "lib/gate/baseline.h"
#include "lib/gate/verdict.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    for (const Baseline& baseline : ParseBaselines(fuzz::TextOf(data, size), "baselines.json")) {
      for (const Metric metric : kMetrics) ValueOf(baseline.measured, metric);
      ChangesOf(baseline, baseline);
      RequireSameCounts(baseline, baseline.measured, "baselines.json");
      if (baseline.measured.prompts.size() < kFewestPrompts) continue;
      const VerdictOptions options{.limits = {}, .resamples = 20};
      for (const MetricVerdict& verdict : Judge(baseline.measured, baseline.measured, options)) {
        fuzz::Require(!Fails(verdict.outcome), "a plan is as good as itself");
      }
    }
  });
}
