// Guesses what a mistyped word was meant to be.
#pragma once

#include <span>
#include <string>

namespace kvtune {

// The word of `words` that takes the fewest letter changes to reach; empty when none is close.
std::string ClosestWord(const std::string& mistyped, std::span<const std::string> words);

// " (did you mean \"search\"?)" to append to a message, or nothing when no word is close.
std::string DidYouMean(const std::string& mistyped, std::span<const std::string> words);

}  // namespace kvtune
