// Guesses what a mistyped word was meant to be.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace kvtune {

// The word of `words` that takes the fewest letter changes to reach, whatever the case of letters;
// else the shortest word that begins with what was typed. Empty when no word is close.
std::string ClosestWord(std::string_view mistyped, std::span<const std::string> words);

// " (did you mean \"search\"?)" to append to a message, or nothing when no word is close.
std::string DidYouMean(std::string_view mistyped, std::span<const std::string> words);

}  // namespace kvtune
