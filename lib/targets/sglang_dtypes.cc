#include "lib/targets/sglang_dtypes.h"

#include <fmt/format.h>

#include "lib/base/error.h"

namespace kvtune {

KvFormatId FormatOfSglangWord(std::string_view word, const std::string& where) {
  if (const auto format = FormatOfWord(kSglangWords, word)) return *format;
  throw Error(fmt::format("{}: found {}, expected one of {}", where, word, WordsOf(kSglangWords)));
}

}  // namespace kvtune
