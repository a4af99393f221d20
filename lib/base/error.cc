#include "lib/base/error.h"

#include <string_view>

namespace kvtune {
namespace {

// what() ends at a null byte, so that a message that quotes one would lose the rest.
std::string WithoutNullBytes(std::string message) {
  constexpr std::string_view kEscape = "\\x00";
  for (size_t at = message.find('\0'); at != std::string::npos; at = message.find('\0', at))
    message.replace(at, 1, kEscape);
  return message;
}

}  // namespace

Error::Error(const std::string& message, ExitCode exit_code)
    : std::runtime_error(WithoutNullBytes(message)), exit_code_(exit_code) {}

}  // namespace kvtune
