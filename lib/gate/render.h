// The gate's results for people and for CI systems.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "lib/gate/gate_result.h"

namespace kvtune {

// A table of every metric, then one line a config.
std::string GateTable(std::span<const GateResult> results, size_t width);

// JUnit XML as Jenkins, GitLab and GitHub's actions read it: one test suite, one test case a
// config; a failed gate is a <failure>, one that was not judged an <error>.
std::string GateJunit(std::span<const GateResult> results);

// For a pull request's comment.
std::string GateMarkdown(std::span<const GateResult> results);

// GitHub's workflow commands: an ::error line for each config that did not pass, a ::notice for one
// whose numbers changed and passed.
std::string GateAnnotations(std::span<const GateResult> results);

}  // namespace kvtune
