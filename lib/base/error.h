// The one exception type for everything that a user, a file or a device can cause.
#pragma once

#include <stdexcept>
#include <string>

namespace kvtune {

// The exit codes of the program. Scripts rely on these numbers (docs/cli.md).
enum class ExitCode : int {
  kOk = 0,
  kError = 1,         // a bad input or file, or an unusable device
  kUsage = 2,         // a mistyped command, option or plan
  kBug = 3,           // an exception that is not an Error, which is our fault
  kGateFailed = 4,    // `kvtune check` found a regression
  kInterrupted = 130  // the user stopped it; what was scored is kept
};

// An Error is thrown where its cause is found, and is caught once, in main(). The message is one
// line in the form "what was being done: what was found, what was expected", and names the path,
// the layer or the key.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ExitCode exit_code = ExitCode::kError);

  ExitCode exit_code() const { return exit_code_; }

 private:
  ExitCode exit_code_;
};

}  // namespace kvtune
