// What this program was built from, for `kvtune --version` and for reports of errors.
#pragma once

#include <string>

namespace kvtune {

// Several lines; the first one is "kvtune 0.1.0" alone, which scripts may rely on.
std::string VersionText();

}  // namespace kvtune
