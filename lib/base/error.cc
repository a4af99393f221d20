#include "lib/base/error.h"

namespace kvtune {

Error::Error(const std::string& message, ExitCode exit_code)
    : std::runtime_error(message), exit_code_(exit_code) {}

}  // namespace kvtune
