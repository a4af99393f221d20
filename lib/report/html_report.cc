#include "lib/report/html_report.h"

#include <array>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>

#include "lib/report/report_page.h"

namespace kvtune {
namespace {

// Replaces the places of the page in one pass, so that nothing is looked for in what was put in.
std::string Filled(std::string_view page,
                   std::span<const std::pair<std::string_view, std::string_view>> parts) {
  std::string filled;
  while (true) {
    const size_t begin = page.find("{{");
    filled += page.substr(0, begin);
    if (begin == std::string_view::npos) return filled;
    const size_t end = page.find("}}", begin);
    const std::string_view name = page.substr(begin + 2, end - begin - 2);
    for (const auto& [part, text] : parts) {
      if (part == name) filled += text;
    }
    page.remove_prefix(end + 2);
  }
}

}  // namespace

std::string JsonForScript(const Json& json) {
  // ASCII alone: U+2028 and U+2029, which end a line of a script, are escaped too.
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    // These stand within strings only, where any character may be written by its number.
    if (c == '<') {
      escaped += "\\u003c";
    } else if (c == '>') {
      escaped += "\\u003e";
    } else if (c == '&') {
      escaped += "\\u0026";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string HtmlReport(const RunReport& report) {
  const std::string data = JsonForScript(ReportData(report));
  const std::array<std::pair<std::string_view, std::string_view>, 3> parts = {
      {{"style", kReportStyle}, {"script", kReportScript}, {"data", data}}};
  return Filled(kReportHtml, parts);
}

}  // namespace kvtune
