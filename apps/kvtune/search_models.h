// kvtune search --models: one search after another.
#pragma once

#include <optional>

#include "apps/kvtune/options.h"
#include "lib/base/error.h"

namespace kvtune {

// Searches each of the models in a process of its own, so that nothing of one, not even a crash,
// reaches the next, and prints one table of what they came to. Runs of before go on. Returns kError
// where a search failed, and kInterrupted where the user stopped one. Throws Error.
ExitCode SearchModels(const SearchArguments& arguments, const Invocation& invocation);

// In a process that SearchModels has started: the arguments of the search of its model.
std::optional<SearchArguments> ArgumentsOfListedModel(const SearchArguments& arguments);

}  // namespace kvtune
