// The result of judging one config. Every report is rendered from results alone.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/json_fields.h"
#include "lib/gate/blame.h"
#include "lib/gate/verdict.h"
#include "lib/tasks/paired.h"

namespace kvtune {

enum class GateStatus { kPassed, kFailed, kNotJudged };

// The status in words: "passed", "failed", "not judged".
std::string_view GateStatusName(GateStatus status);

struct GateResult {
  std::string name;  // the config's, or its file where it could not be read
  std::string file;  // the config's, as given
  GateStatus status = GateStatus::kNotJudged;
  std::string error;  // why it was not judged
  std::vector<MetricVerdict> metrics;
  std::optional<Blame> blame;
  std::vector<std::string> notes;  // what a reader should know besides the numbers
  double seconds = 0;
};

// The whole result in one line. For a failure it names the metric, its value before and after, the
// interval and the layer.
std::string Sentence(const GateResult& result);
// A sentence such as "layer 3 explains most: with KV8 as in the baseline, not KV2, kl_mean is
// 0.0012".
std::string BlameSentence(const Blame& blame);

// "12 lost and 2 gained of 100 items (McNemar's p 0.013)": the answers that flipped.
std::string FlipsText(const Flips& flips);

// The exit code for all results: kOk only when all passed. A failure outweighs a config that was
// not judged, so that what is known to be worse cannot hide behind what is not known.
ExitCode ExitCodeOf(std::span<const GateResult> results);

// All results as {"passed", "exit_code", "configs": [...]}.
Json ToJson(std::span<const GateResult> results);

}  // namespace kvtune
