#include "lib/base/status_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

namespace kvtune {
namespace {

std::recursive_mutex& Mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

bool is_drawn = false;  // guarded by Mutex()

void Show(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace

AboveStatusLine::AboveStatusLine() : lock_(Mutex()) { WipeStatusLine(); }

void DrawStatusLine(const std::string& text) {
  const std::lock_guard lock(Mutex());
  Show("\r\033[K" + text);
  is_drawn = true;
}

void WipeStatusLine() {
  const std::lock_guard lock(Mutex());
  if (is_drawn) Show("\r\033[K");
  is_drawn = false;
}

size_t StatusLineWidth() {
  winsize size = {};
  const bool knows = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return knows ? size.ws_col : 80;
}

}  // namespace kvtune
