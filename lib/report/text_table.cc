#include "lib/report/text_table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <numeric>

#include "lib/base/printable.h"

namespace kvtune {
namespace {

constexpr size_t kGap = 2;  // spaces between columns
// Text columns are not made narrower than this while anything else can give way.
constexpr size_t kNarrowestText = 12;
constexpr size_t kNarrowestLetters = 4;

std::string Padded(const std::string& text, size_t width, Align align) {
  const size_t used = DisplayWidth(text);
  const std::string padding(width > used ? width - used : 0, ' ');
  return align == Align::kLeft ? text + padding : padding + text;
}

// Whether a plan's layers or a sentence may continue on the next line after this character: ';',
// ',' or a space.
bool IsBreak(char c) { return c == ';' || c == ',' || c == ' '; }

// The first bytes of `text` that take at most `width` columns, at least one character.
std::string_view FirstColumns(std::string_view text, size_t width) {
  size_t end = 0;
  while (end < text.size()) {
    size_t next = end + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
    if (end > 0 && DisplayWidth(text.substr(0, next)) > width) break;
    end = next;
  }
  return text.substr(0, end);
}

// Cuts `text` into lines of at most `width` columns: at its breaks, and within a word that is
// longer.
std::vector<std::string> Wrap(std::string_view text, size_t width) {
  if (DisplayWidth(text) <= width) return {std::string(text)};
  std::vector<std::string> lines(1);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && !IsBreak(text[end])) ++end;
    if (end < text.size()) ++end;
    std::string_view piece = text.substr(begin, end - begin);
    begin = end;
    // A space at the end of a line is not shown.
    const auto shown = [&] { return DisplayWidth(piece) - (piece.ends_with(' ') ? 1 : 0); };
    if (!lines.back().empty() && DisplayWidth(lines.back()) + shown() > width) lines.emplace_back();
    while (shown() > width) {
      const std::string_view part = FirstColumns(piece, width);
      lines.back() += part;
      lines.emplace_back();
      piece.remove_prefix(part.size());
    }
    lines.back() += piece;
  }
  return lines;
}

size_t TotalWidth(const std::vector<size_t>& widths) {
  return std::accumulate(widths.begin(), widths.end(), kGap * (widths.size() - 1));
}

void AppendLine(std::string& text, const std::string& line) {
  text += line.substr(0, line.find_last_not_of(' ') + 1);
  text += '\n';
}

}  // namespace

size_t DisplayWidth(std::string_view utf8) {
  size_t columns = 0;
  for (size_t i = 0; i < utf8.size(); ++i) {
    const auto byte = static_cast<unsigned char>(utf8[i]);
    const bool continuation = (byte & 0xC0) == 0x80;
    const bool combining = byte == 0xCC || byte == 0xCD;  // U+0300 to U+037F
    if (!continuation && !combining) ++columns;
  }
  return columns;
}

size_t TerminalWidth() {
  if (::isatty(STDOUT_FILENO) != 1) return 0;
  const std::string_view said = std::getenv("COLUMNS") ? std::getenv("COLUMNS") : "";
  size_t columns = 0;
  const auto [end, reason] = std::from_chars(said.data(), said.data() + said.size(), columns);
  if (reason == std::errc() && end == said.data() + said.size()) return columns;
  winsize size = {};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::string WrappedText(std::string_view text, size_t width) {
  if (width == 0) return std::string(text);
  std::string wrapped;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (DisplayWidth(line) <= width) {
      wrapped += line;
      wrapped += '\n';
      continue;
    }
    const size_t indent = std::min(line.find_first_not_of(' '), line.size());
    line.remove_prefix(indent);
    const size_t room = width > indent + kNarrowestText ? width - indent : width;
    std::string current;
    for (size_t word = 0; word < line.size();) {
      const size_t next = std::min(line.find(' ', word), line.size());
      const std::string_view letters = line.substr(word, next - word);
      word = next + 1;
      if (!current.empty() && DisplayWidth(current) + 1 + DisplayWidth(letters) > room) {
        AppendLine(wrapped, std::string(indent, ' ') + current);
        current.clear();
      }
      if (!current.empty()) current += ' ';
      current += letters;
    }
    AppendLine(wrapped, std::string(indent, ' ') + current);
  }
  return wrapped;
}

void TextTable::AddRow(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = PrintableLine(cell);  // a row is one line
  rows_.push_back(std::move(cells));
}

bool TextTable::Wraps(size_t column) const {
  return columns_[column].align == Align::kLeft && columns_[column].wraps;
}

std::vector<size_t> TextTable::NaturalWidths(const std::vector<size_t>& shown) const {
  std::vector<size_t> widths;
  for (const size_t column : shown) {
    size_t width = DisplayWidth(columns_[column].header);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[column]));
    widths.push_back(width);
  }
  return widths;
}

std::vector<size_t> TextTable::SmallestWidths(const std::vector<size_t>& shown) const {
  std::vector<size_t> widths = NaturalWidths(shown);
  for (size_t i = 0; i < shown.size(); ++i) {
    if (Wraps(shown[i])) widths[i] = std::min(widths[i], kNarrowestText);
  }
  return widths;
}

std::vector<size_t> TextTable::WidthsWithin(const std::vector<size_t>& shown, size_t width) const {
  std::vector<size_t> widths = NaturalWidths(shown);
  if (width == 0) return widths;
  std::vector<size_t> smallest = SmallestWidths(shown);
  const auto excess = [&] { return std::max(TotalWidth(widths), width) - width; };
  const size_t last = shown.size() - 1;
  widths[last] -= std::min(excess(), widths[last] - smallest[last]);
  while (excess() > 0) {
    const auto room = [&](size_t i) { return widths[i] - smallest[i]; };
    size_t widest = 0;
    for (size_t i = 1; i < widths.size(); ++i) {
      if (room(i) > room(widest)) widest = i;
    }
    if (room(widest) == 0) break;
    --widths[widest];
  }
  if (Wraps(shown[last]) && widths[last] > kNarrowestLetters) {
    widths[last] -= std::min(excess(), widths[last] - kNarrowestLetters);
  }
  return widths;
}

std::vector<size_t> TextTable::WithoutLeastNeeded(std::vector<size_t> shown, size_t width) const {
  while (TotalWidth(SmallestWidths(shown)) > width) {
    auto least = shown.end();
    for (auto each = shown.begin(); each != shown.end(); ++each) {
      const int rank = columns_[*each].rank;
      if (rank > 0 && (least == shown.end() || rank < columns_[*least].rank)) least = each;
    }
    if (least == shown.end()) break;
    shown.erase(least);
  }
  return shown;
}

std::string TextTable::Render(size_t width) const {
  std::vector<size_t> shown(columns_.size());
  std::iota(shown.begin(), shown.end(), size_t{0});
  if (width == 0) return RenderColumns(shown, 0);
  shown = WithoutLeastNeeded(std::move(shown), width);
  std::string text;
  for (size_t begin = 1; text.empty() || begin < shown.size();) {
    std::vector<size_t> part = {shown.front()};
    while (begin < shown.size()) {
      part.push_back(shown[begin]);
      // At least one column stands beside the first.
      if (part.size() > 2 && TotalWidth(SmallestWidths(part)) > width) {
        part.pop_back();
        break;
      }
      ++begin;
    }
    if (!text.empty()) text += '\n';
    text += RenderColumns(part, width);
  }
  return text;
}

std::string TextTable::RenderColumns(const std::vector<size_t>& shown, size_t width) const {
  const std::vector<size_t> widths = WidthsWithin(shown, width);
  std::string text;
  const auto append_row = [&](const auto& cell_of) {
    std::vector<std::vector<std::string>> cells;  // the lines of each cell
    size_t height = 1;
    for (size_t i = 0; i < shown.size(); ++i) {
      const std::string& cell = cell_of(shown[i]);
      cells.push_back(Wraps(shown[i]) ? Wrap(cell, widths[i]) : std::vector<std::string>{cell});
      height = std::max(height, cells.back().size());
    }
    for (size_t row = 0; row < height; ++row) {
      std::string line;
      for (size_t i = 0; i < shown.size(); ++i) {
        if (i > 0) line += std::string(kGap, ' ');
        line +=
            Padded(row < cells[i].size() ? cells[i][row] : "", widths[i], columns_[shown[i]].align);
      }
      AppendLine(text, line);
    }
  };
  append_row([&](size_t column) -> const std::string& { return columns_[column].header; });
  for (const auto& row : rows_) {
    append_row([&](size_t column) -> const std::string& { return row[column]; });
  }
  return text;
}

}  // namespace kvtune
