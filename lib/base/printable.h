// Text from files and users made safe to show: a terminal and a CI system obey control characters.
#pragma once

#include <string>
#include <string_view>

namespace kvtune {

// Control characters, those that turn the direction of writing, and bytes that are not UTF-8 become
// escapes that can be seen ("\x1b", "\u202e"). Newlines and tabs stay.
std::string PrintableText(std::string_view text);

// The same for what must stay one line, as a name: newlines and tabs become "\n" and "\t".
std::string PrintableLine(std::string_view text);

// The word of a shell that means what `text` says: as it is where a shell takes it as it is,
// otherwise in single quotes.
std::string ShellWord(std::string_view text);

}  // namespace kvtune
