// Regular expressions as the Oniguruma inside of `tokenizers` reads them.
#pragma once

#include <string>
#include <string_view>

namespace kvtune::tokenizer {

// Returns `expression` with every property of characters widened, or narrowed, to what it holds in
// `tokenizers` 0.23: its Oniguruma 6.9.10 knows Unicode 16, that of Debian 12 Unicode 14. The
// properties are \d, \w, \p{...} by category, long name or script, and POSIX classes such as
// [[:alpha:]]. It is harmless where Oniguruma is as new.
std::string WidenProperties(std::string_view expression);

}  // namespace kvtune::tokenizer
