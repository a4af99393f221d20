// The byte-to-character table of byte-level BPE: every byte is written as one printable character.
//
// The table is that of GPT-2's encoder.py (`bytes_to_unicode`): printable Latin-1 bytes stand for
// themselves, and the other 68 become U+0100, U+0101, ... in the order of their values, so that
// 0x20 is U+0120.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvtune::tokenizer {

// Appends the character of each byte of `bytes` to `text`.
void AppendByteCharacters(std::string_view bytes, std::string& text);

// The byte that `code_point` stands for, or nullopt when it stands for none.
std::optional<unsigned char> ByteOfCharacter(char32_t code_point);

}  // namespace kvtune::tokenizer
