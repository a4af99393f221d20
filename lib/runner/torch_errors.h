// The wall that libtorch's exceptions do not pass: a user sees one line that says what failed.
#pragma once

#include <string>

#include "lib/base/error.h"
#include "lib/runner/torch.h"

namespace kvtune {

// The first line of what libtorch says, without its stack trace.
inline std::string FirstLine(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

// Runs `function`; what libtorch throws becomes an Error that begins with `doing`.
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
