// What came of a config: the one thing that every report is rendered from.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/json_fields.h"
#include "lib/gate/blame.h"
#include "lib/gate/verdict.h"

namespace kvtune {

enum class GateStatus { kPassed, kFailed, kNotJudged };

// "passed", "failed", "not judged".
std::string_view GateStatusName(GateStatus status);

struct GateResult {
  std::string name;  // of the config; its file where it could not be read
  std::string file;  // the config's, as given
  GateStatus status = GateStatus::kNotJudged;
  std::string error;  // why it was not judged
  std::vector<MetricVerdict> metrics;
  std::optional<Blame> blame;
  std::vector<std::string> notes;  // what a reader should know beside the numbers
  double seconds = 0;
};

// The whole answer in one line: for a failure metric, before, after, interval and layer.
std::string Sentence(const GateResult& result);
// "layer 3 explains most: with KV8 as in the baseline, not KV2, kl_mean is 0.0012".
std::string BlameSentence(const Blame& blame);

// A failed gate decides over one that was not judged: what is known to be worse must not hide
// behind what is not known. Only when all passed is it kOk.
ExitCode ExitCodeOf(std::span<const GateResult> results);

// {"passed", "exit_code", "configs": [...]}.
Json ToJson(std::span<const GateResult> results);

}  // namespace kvtune
