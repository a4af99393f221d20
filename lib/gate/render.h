// Renders the gate's results for people and for CI systems.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "lib/gate/gate_result.h"

namespace kvtune {

// A table of all metrics, then one line for each config.
std::string GateTable(std::span<const GateResult> results, size_t width);

// JUnit XML as Jenkins, GitLab and GitHub's actions read it: one test suite with a test case for
// each config. A config that failed is a <failure>, one that was not judged an <error>.
std::string GateJunit(std::span<const GateResult> results);

// Markdown for the comment on a pull request.
std::string GateMarkdown(std::span<const GateResult> results);

// GitHub's workflow commands: an ::error line for each config that did not pass, and a ::notice
// line for each that passed although its numbers changed.
std::string GateAnnotations(std::span<const GateResult> results);

}  // namespace kvtune
