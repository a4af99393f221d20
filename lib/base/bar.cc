#include "lib/base/bar.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

namespace kvtune {
namespace {

constexpr std::string_view kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
constexpr std::string_view kFull = "█";

double Cut(double share) { return std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0; }

}  // namespace

bool ShowsUnicode() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (!value || *value == '\0') continue;
    std::string locale(value);
    std::ranges::transform(locale, locale.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return locale.find("utf-8") != std::string::npos || locale.find("utf8") != std::string::npos;
  }
  return false;
}

std::string Bar(double share, size_t width, bool unicode) {
  const double columns = Cut(share) * static_cast<double>(width);
  if (!unicode) return std::string(static_cast<size_t>(std::lround(columns)), '#');
  const auto eighths = static_cast<size_t>(std::lround(columns * 8));
  std::string bar;
  for (size_t i = 0; i < eighths / 8; ++i) bar += kFull;
  return bar + std::string(kEighths[eighths % 8]);
}

std::string ProgressBar(double share, size_t width, bool unicode) {
  const auto full = static_cast<size_t>(std::lround(Cut(share) * static_cast<double>(width)));
  std::string bar;
  for (size_t i = 0; i < width; ++i) {
    if (unicode) {
      bar += i < full ? kFull : "░";
    } else {
      bar += i < full ? '#' : '.';
    }
  }
  return bar;
}

}  // namespace kvtune
