// The prompts of a run: those that the search sees, and those that are kept out of it to check what
// it found.
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

// Held-out prompts are, in this order: what --held-out says; the bundled held-out set when the
// calibration set is the bundled one; the last quarter of the prompts when there are at least 8 of
// them; else none. --max-prompts and --max-tokens limit either set. Says on stderr what was chosen.
// Throws Error, also when a prompt is in both sets.
RunPrompts LoadRunPrompts(const RunInputs& inputs, const std::string& held_out,
                          const ModelConfig& config);

// The calibration prompts alone, nothing held out.
PromptSet LoadPrompts(const RunInputs& inputs, const ModelConfig& config);

}  // namespace kvtune
