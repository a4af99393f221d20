#include "lib/tokenizer/byte_level.h"

#include <array>

#include "lib/tokenizer/unicode.h"

namespace kvtune::tokenizer {
namespace {

constexpr char32_t kMovedBytes = 0x100;  // the first character of the unprintable bytes
constexpr char32_t kTableEnd = 0x144;    // one past their last character

struct ByteTable {
  std::array<std::string, 256> characters;  // UTF-8
  std::array<int, kTableEnd> bytes;         // -1 where a character stands for no byte
};

ByteTable MakeByteTable() {
  ByteTable table;
  table.bytes.fill(-1);
  char32_t next_moved = kMovedBytes;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    const char32_t character = is_printable ? byte : next_moved++;
    AppendUtf8(character, table.characters[byte]);
    table.bytes[character] = static_cast<int>(byte);
  }
  return table;
}

const ByteTable& Table() {
  static const ByteTable table = MakeByteTable();
  return table;
}

}  // namespace

void AppendByteCharacters(std::string_view bytes, std::string& text) {
  const ByteTable& table = Table();
  for (const char byte : bytes) text.append(table.characters[static_cast<unsigned char>(byte)]);
}

std::optional<unsigned char> ByteOfCharacter(char32_t code_point) {
  if (code_point >= kTableEnd || Table().bytes[code_point] < 0) return std::nullopt;
  return static_cast<unsigned char>(Table().bytes[code_point]);
}

}  // namespace kvtune::tokenizer
