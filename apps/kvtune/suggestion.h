// What a mistyped word was probably meant to be.
#pragma once

#include <span>
#include <string>

namespace kvtune {

// The one of `words` with the fewest letters to change; empty when none is close.
std::string ClosestWord(const std::string& mistyped, std::span<const std::string> words);

// " (did you mean \"search\"?)", or nothing.
std::string DidYouMean(const std::string& mistyped, std::span<const std::string> words);

}  // namespace kvtune
