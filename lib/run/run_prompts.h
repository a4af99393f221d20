// The prompts of a run: those that the search sees, and those that are held out to check what it
// found.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lib/calib/prompt_set.h"
#include "lib/run/run_options.h"

namespace kvtune {

struct RunPrompts {
  PromptSet calibration;
  std::vector<TokenIds> held_out;  // empty: none
  std::string held_out_source;     // "bundled", "split", "none" or the file
};

// The held-out prompts are the first of these that applies: what --held-out says; the bundled
// held-out set, when the calibration set is the bundled one; the last quarter of the prompts, when
// there are at least 8 of them; else none. --max-prompts and --max-tokens limit both sets. Writes
// to stderr what was chosen. Throws Error, also when a prompt is in both sets.
RunPrompts LoadRunPrompts(const RunInputs& inputs, const std::string& held_out,
                          const ModelConfig& config);

// Says that the calibration prompts are much shorter than the context at which bytes are counted,
// so that nothing is known of the loss there. Empty when they are not.
std::string ShortPromptsWarning(const RunPrompts& prompts, int64_t context);

// Loads all prompts as calibration prompts and holds none out.
PromptSet LoadPrompts(const RunInputs& inputs, const ModelConfig& config);

}  // namespace kvtune
