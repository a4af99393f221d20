// evaluations.jsonl: as it stands, or lines to which the fuzzer adds the checksum, so that it gets
// behind that.
#include <algorithm>

#include "lib/base/hash.h"
#include "lib/run/evaluation_log.h"
#include "tests/fuzz/fuzzer.h"

namespace {

// Lines end behind their last field but one; {"spec": ..., "batch_size": 1
std::string WithChecksums(std::string_view lines) {
  std::string log;
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    log.append(line).append(",\"checksum\":\"").append(kvtune::HashOf(line)).append("\"}\n");
  }
  return log;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  std::string_view input = fuzz::TextOf(data, size);
  const size_t form = fuzz::TakeChoice(input, 4);
  const size_t layers = 1 + fuzz::TakeChoice(input, 16);
  const std::string log = form == 0 ? std::string(input) : WithChecksums(input);
  return fuzz::Try(log.size(), [&] {
    const LogContent content = ParseEvaluationLog(log, "evaluations.jsonl", layers);
    fuzz::Require(content.intact_bytes <= log.size(), "whole batches lie in the log");
    for (const LoggedEvaluation& evaluation : content.evaluations) {
      fuzz::Require(evaluation.plan.layers.size() == layers, "a plan has the model's layers");
    }
    // What EvaluationLog keeps of a torn log is whole.
    const LogContent kept = ParseEvaluationLog(
        std::string_view(log).substr(0, content.intact_bytes), "evaluations.jsonl", layers);
    fuzz::Require(kept.evaluations.size() == content.evaluations.size(),
                  "a cut log reads the same");
  });
}
