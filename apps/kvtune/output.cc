#include "apps/kvtune/output.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "lib/base/error.h"
#include "lib/base/printable.h"
#include "lib/core/artifacts.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

// The control characters that JSON may hold as they are, DEL and U+0080 to U+009F, as escapes.
// They stand in strings only, so the document stays the same.
std::string WithoutControls(std::string_view json) {
  std::string escaped;
  for (size_t i = 0; i < json.size(); ++i) {
    const auto byte = static_cast<unsigned char>(json[i]);
    const auto next = static_cast<unsigned char>(i + 1 < json.size() ? json[i + 1] : '\0');
    if (byte == 0x7F) {
      escaped += "\\u007f";
    } else if (byte == 0xC2 && next >= 0x80 && next <= 0x9F) {
      escaped += fmt::format("\\u00{:02x}", next);
      ++i;
    } else {
      escaped += json[i];
    }
  }
  return escaped;
}

}  // namespace

void PrintExact(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    throw Error(fmt::format("writing the result to stdout: {}", std::strerror(errno)));
  }
}

void PrintText(std::string_view text) {
  PrintExact(WrappedText(PrintableText(text), TerminalWidth()));
}

void AddPeakMemory(Json& document, int64_t bytes) {
  if (bytes > 0) document["peak_device_bytes"] = bytes;
}

void PrintJson(const Json& json) { PrintExact(WithoutControls(DumpJson(json))); }

Json NewDocument() { return {{"schema_version", kSchemaVersion}}; }

}  // namespace kvtune
