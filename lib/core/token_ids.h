// A prompt as a model reads it, or what it wrote.
#pragma once

#include <cstdint>
#include <vector>

namespace kvtune {

using TokenIds = std::vector<int32_t>;

}  // namespace kvtune
