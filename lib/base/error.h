// The one exception type for everything that a user, a file or a device can cause.
#pragma once

#include <stdexcept>
#include <string>

namespace kvtune {

// What a shell sees. Scripts rely on these numbers (docs/cli.md).
enum class ExitCode : int {
  kOk = 0,
  kError = 1,         // bad input, bad file, unusable device
  kUsage = 2,         // mistyped command, option or plan
  kBug = 3,           // an exception that is not an Error: our fault
  kGateFailed = 4,    // `kvtune check` found a regression
  kInterrupted = 130  // stopped by the user; what was scored is kept
};

// Thrown where the cause is found, caught once in main(). The message is one line in the form
// "what was being done: what was found, what was expected", with path, layer or key.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode exit_code = ExitCode::kError);

  ExitCode exit_code() const { return exit_code_; }

 private:
  ExitCode exit_code_;
};

}  // namespace kvtune
