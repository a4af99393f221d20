#include "lib/run/checked_line.h"

#include <fmt/format.h>

#include "lib/base/hash.h"

namespace kvtune {
namespace {

constexpr std::string_view kChecksumKey = ",\"checksum\":\"";
constexpr std::string_view kLineEnd = "\"}";

}  // namespace

std::string CheckedLine(std::string object) {
  object.pop_back();  // the closing brace: the checksum is the last field
  const std::string checksum = HashOf(object);
  return fmt::format("{}{}{}{}\n", object, kChecksumKey, checksum, kLineEnd);
}

bool IsIntact(std::string_view line) {
  const size_t key = line.rfind(kChecksumKey);
  if (key == std::string_view::npos || !line.ends_with(kLineEnd)) return false;
  std::string_view checksum = line.substr(key + kChecksumKey.size());
  checksum.remove_suffix(kLineEnd.size());
  return checksum == HashOf(line.substr(0, key));
}

}  // namespace kvtune
