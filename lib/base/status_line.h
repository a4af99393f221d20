// The one line at the bottom of a terminal on stderr that is drawn over and over, and the messages
// that appear above it.
#pragma once

#include <mutex>
#include <string>

namespace kvtune {

// Holds the line back while a message is written: wipes it, and lets nothing draw it until the
// destructor.
class AboveStatusLine {
 public:
  AboveStatusLine();

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

// Draws `text` over the line that is there. What cannot be written is lost and stops nothing.
void DrawStatusLine(const std::string& text);
void WipeStatusLine();

// The width of the terminal on stderr, 80 where it does not say.
size_t StatusLineWidth();

}  // namespace kvtune
