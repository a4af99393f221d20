#include "lib/base/words.h"

#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/base/suggestion.h"

namespace kvtune {

void FailForUnknownWord(std::string_view what, std::string_view word,
                        const std::vector<std::string>& expected) {
  throw Error(fmt::format("{}: found \"{}\"{}, expected one of {}", what, word,
                          DidYouMean(word, expected), fmt::join(expected, ", ")),
              ExitCode::kUsage);
}

}  // namespace kvtune
