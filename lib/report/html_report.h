// The HTML report of a run: one file that shows the front, the layers and the plans, and needs
// nothing else, no network and no library.
//
// The page (lib/report/page/) becomes part of the program when it is built. Everything that a file
// of somebody else may have named stands in the JSON element alone, from which the page makes text
// nodes and attribute values, never markup.
#pragma once

#include <string>

#include "lib/base/json_fields.h"
#include "lib/report/report_data.h"

namespace kvtune {

// JSON that may stand inside of a <script> element of any type: "<", ">" and "&" and everything
// beyond ASCII are escaped within strings, so that no text of it can end the element. Bytes that
// are not UTF-8 become U+FFFD.
std::string JsonForScript(const Json& json);

// The whole page.
std::string HtmlReport(const RunReport& report);

}  // namespace kvtune
