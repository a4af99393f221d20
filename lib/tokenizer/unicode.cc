#include "lib/tokenizer/unicode.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "lib/base/error.h"
#include "lib/tokenizer/unicode_versions.h"

namespace kvtune::tokenizer {
namespace {

// The length of the well-formed sequence at `offset` (Unicode 15.0, table 3-7). Where there is
// none, it is minus the length of the longest beginning of one, which is at least one byte.
int SequenceLength(std::string_view text, size_t offset) {
  const size_t available = text.size() - offset;
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  int length = 0;
  unsigned low = 0x80;
  unsigned high = 0xBF;  // low and high bound the second byte first, and then all later ones
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return -1;
  }
  for (int i = 1; i < length; ++i) {
    if (static_cast<size_t>(i) >= available || byte(i) < low || byte(i) > high) return -i;
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

bool HasOnlyAsciiFrom(std::string_view text, size_t* offset) {
  size_t i = *offset;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, sizeof(word));
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  *offset = i;
  return i == text.size();
}

// The category as two letters, for example "Lu", of which the first is the group. An unassigned
// code point has "Cn".
std::string_view Category(char32_t code_point) {
  const std::string_view category =
      utf8proc_category_string(static_cast<utf8proc_int32_t>(code_point));
  return category == "Cn" ? RecentCategory(code_point) : category;
}

// Whether the lead bytes of `text` alone show that it is already in `form`: code points under
// U+0300 are stable under NFC, and ASCII is stable under all four forms.
bool IsTriviallyNormal(std::string_view text, NormalizationForm form) {
  const unsigned char limit = form == NormalizationForm::kNfc ? 0xCC : 0x80;  // 0xCC leads U+0300
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return static_cast<unsigned char>(c) < limit; });
}

utf8proc_option_t Utf8procOptions(NormalizationForm form) {
  int options = UTF8PROC_STABLE;
  const bool composes = form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc;
  options |= composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd)
    options |= UTF8PROC_COMPAT;
  return static_cast<utf8proc_option_t>(options);
}

void AppendMapped(std::string_view text, utf8proc_option_t options, std::string& mapped) {
  if (text.empty()) return;
  utf8proc_uint8_t* buffer = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &buffer, options);
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(buffer, &std::free);
  if (size < 0) {
    throw Error(
        fmt::format("normalizing {} bytes of text: {}", text.size(), utf8proc_errmsg(size)));
  }
  mapped.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(size));
}

}  // namespace

DecodedCodePoint DecodeCodePointBefore(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0u) == 0x80u) --begin;
  return DecodeCodePoint(text, begin);
}

void AppendUtf8(char32_t code_point, std::string& text) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0u | code_point >> 6);
    put(0x80u | (code_point & 0x3Fu));
  } else if (code_point < 0x10000) {
    put(0xE0u | code_point >> 12);
    put(0x80u | (code_point >> 6 & 0x3Fu));
    put(0x80u | (code_point & 0x3Fu));
  } else {
    put(0xF0u | code_point >> 18);
    put(0x80u | (code_point >> 12 & 0x3Fu));
    put(0x80u | (code_point >> 6 & 0x3Fu));
    put(0x80u | (code_point & 0x3Fu));
  }
}

std::optional<size_t> FindInvalidUtf8(std::string_view text) {
  size_t offset = 0;
  while (!HasOnlyAsciiFrom(text, &offset)) {
    const int length = SequenceLength(text, offset);
    if (length < 0) return offset;
    offset += static_cast<size_t>(length);
  }
  return std::nullopt;
}

std::string ReplaceInvalidUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (size_t offset = 0; offset < bytes.size();) {
    const int length = SequenceLength(bytes, offset);
    if (length > 0) {
      text.append(bytes, offset, static_cast<size_t>(length));
    } else {
      text.append("\uFFFD");
    }
    offset += static_cast<size_t>(std::abs(length));
  }
  return text;
}

bool IsWhitespace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool IsNumeric(char32_t c) { return Category(c).front() == 'N'; }

bool IsPunctuation(char32_t c) {
  // This does not call std::ispunct, because that depends on the locale.
  if (c < 0x80)
    return c > 0x20 && c < 0x7F && !(c >= '0' && c <= '9') &&
           !((c | 0x20u) >= 'a' && (c | 0x20u) <= 'z');
  return Category(c).front() == 'P';
}

bool IsWordCharacter(char32_t c) {
  const std::string_view category = Category(c);
  if (category.front() == 'L' || category.front() == 'M' || category == "Nd" || category == "Nl" ||
      category == "Pc") {
    return true;
  }
  // These have Join_Control, or are the symbols that have Other_Alphabetic, which are enclosed
  // Latin letters.
  return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
         (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

void AppendLowercase(char32_t c, std::string& text) {
  // This is the only unconditional mapping of SpecialCasing.txt that gives two code points in lower
  // case.
  if (c == 0x130) {
    text.append("i\u0307");
  } else {
    AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), text);
  }
}

std::string ToNormalizationForm(std::string text, NormalizationForm form) {
  if (IsTriviallyNormal(text, form)) return text;
  const utf8proc_option_t options = Utf8procOptions(form);
  std::string normalized;
  normalized.reserve(text.size());
  size_t done = 0;
  for (size_t offset = 0; offset < text.size();) {
    const DecodedCodePoint code_point = DecodeCodePoint(text, offset);
    const size_t end = offset + code_point.length;
    if (IsInertInNormalization(code_point.value)) {
      AppendMapped(std::string_view(text).substr(done, offset - done), options, normalized);
      normalized.append(text, offset, code_point.length);
      done = end;
    }
    offset = end;
  }
  AppendMapped(std::string_view(text).substr(done), options, normalized);
  return normalized;
}

}  // namespace kvtune::tokenizer
