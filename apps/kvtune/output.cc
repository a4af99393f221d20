#include "apps/kvtune/output.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/core/artifacts.h"

namespace kvtune {

void PrintText(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    throw Error(fmt::format("writing the result to stdout: {}", std::strerror(errno)));
  }
}

void PrintJson(const Json& json) { PrintText(DumpJson(json)); }

Json NewDocument() { return {{"schema_version", kSchemaVersion}}; }

}  // namespace kvtune
