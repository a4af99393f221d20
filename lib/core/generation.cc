#include "lib/core/generation.h"

#include <algorithm>

namespace kvtune {

bool StopTexts::AreIn(std::span<const int32_t> generated) const {
  if (texts.empty()) return false;
  const std::string text = text_of(generated.last(std::min(generated.size(), newest_tokens)));
  return std::ranges::any_of(texts, [&](const std::string& stop) {
    return !stop.empty() && text.find(stop) != std::string::npos;
  });
}

}  // namespace kvtune
