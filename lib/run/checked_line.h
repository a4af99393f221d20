// Lines of JSON in a log that say themselves whether they are whole: their last field is a checksum
// of the text before it, so that a line need not be parsed to know it.
#pragma once

#include <string>
#include <string_view>

namespace kvtune {

// The line, with its end, for an object as Json::dump writes it.
std::string CheckedLine(std::string object);

// Whether `line`, without its end, is as CheckedLine wrote it.
bool IsIntact(std::string_view line);

}  // namespace kvtune
