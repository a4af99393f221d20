// UTF-8 and the few Unicode properties that tokenizers ask about.
//
// Properties come from utf8proc, with what Unicode 15 and 16 added from unicode_versions.h. They
// are those of Unicode 16, as in Rust's standard library and regex crate. Known differences:
// letters of Unicode 16 keep their case, and the crate behind Punctuation knows fewer recent signs.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace kvtune::tokenizer {

struct DecodedCodePoint {
  char32_t value;
  size_t length;  // bytes
};

// The code point that starts at `offset`. REQUIRES: valid UTF-8, offset < text.size() on a
// boundary.
inline DecodedCodePoint DecodeCodePoint(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1Fu) << 6 | (byte(1) & 0x3Fu), 2};
  if (lead < 0xF0) return {(lead & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu), 3};
  return {
      (lead & 0x07u) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu),
      4};
}

// The code point that ends at `end`. REQUIRES: valid UTF-8, 0 < end <= text.size() on a boundary.
DecodedCodePoint DecodeCodePointBefore(std::string_view text, size_t end);

void AppendUtf8(char32_t code_point, std::string& text);

// The byte offset of the first sequence that is not UTF-8, or nullopt. Overlong forms and
// surrogates are not UTF-8 either.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

// Replaces every maximal invalid part by U+FFFD, as Rust's String::from_utf8_lossy does.
std::string ReplaceInvalidUtf8(std::string_view bytes);

bool IsWhitespace(char32_t code_point);     // White_Space; char::is_whitespace of Rust
bool IsNumeric(char32_t code_point);        // Nd, Nl, No; char::is_numeric of Rust
bool IsPunctuation(char32_t code_point);    // ASCII punctuation or category P
bool IsWordCharacter(char32_t code_point);  // \w of Rust's regex crate (UTS #18 annex C)

// Appends the full lower-case mapping without regard to context, which is one code point or two.
void AppendLowercase(char32_t code_point, std::string& text);

enum class NormalizationForm { kNfc, kNfd, kNfkc, kNfkd };

// REQUIRES: valid UTF-8.
std::string ToNormalizationForm(std::string text, NormalizationForm form);

}  // namespace kvtune::tokenizer
