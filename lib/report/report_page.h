// The parts of the report's page, which are the files of lib/report/page/. cmake/EmbedText.cmake
// makes the source that defines them.
#pragma once

#include <string_view>

namespace kvtune {

extern const std::string_view kReportHtml;  // with {{style}}, {{script}}, {{data}}
extern const std::string_view kReportStyle;
extern const std::string_view kReportScript;

}  // namespace kvtune
