// Turns libtorch's exceptions into Error, so that a user sees one line that says what failed.
#pragma once

#include <string>

#include "lib/base/error.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Returns the first line of libtorch's message, without its stack trace.
inline std::string FirstLine(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

// Runs `function`. An exception of libtorch becomes an Error whose message begins with `doing`.
template <typename Function>
auto WithTorchErrors(const std::string& doing, const Function& function) {
  try {
    return function();
  } catch (const c10::OutOfMemoryError&) {
    throw Error(doing +
                ": the device ran out of memory; fewer or shorter prompts, a smaller population or "
                "--device cpu need less");
  } catch (const c10::Error& error) {
    throw Error(doing + ": libtorch failed: " + FirstLine(error));
  }
}

}  // namespace kvtune
