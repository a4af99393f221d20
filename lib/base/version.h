// The version of kvtune, from the one place that says it: the root CMakeLists.txt.
#pragma once

#include <string_view>

namespace kvtune {

// "0.1.0"
std::string_view Version();

}  // namespace kvtune
