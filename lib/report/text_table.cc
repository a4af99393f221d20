#include "lib/report/text_table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/printable.h"

namespace kvtune {
namespace {

constexpr size_t kGap = 2;  // spaces between columns
// A last column narrower than this is not wrapped, because it would be unreadable.
constexpr size_t kNarrowestWrap = 16;

std::string Padded(const std::string& text, size_t width, Align align) {
  const size_t used = DisplayWidth(text);
  const std::string padding(width > used ? width - used : 0, ' ');
  return align == Align::kLeft ? text + padding : padding + text;
}

// Whether a plan's layers or a sentence may continue on the next line after this character: ';',
// ',' or a space.
bool IsBreak(char c) { return c == ';' || c == ',' || c == ' '; }

// Cuts `text` at its breaks into lines of at most `width` columns.
std::vector<std::string> Wrap(const std::string& text, size_t width) {
  if (width == 0 || DisplayWidth(text) <= width) return {text};
  std::vector<std::string> lines(1);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && !IsBreak(text[end])) ++end;
    if (end < text.size()) ++end;
    const std::string piece = text.substr(begin, end - begin);
    if (!lines.back().empty() && DisplayWidth(lines.back()) + DisplayWidth(piece) > width) {
      lines.emplace_back();
    }
    lines.back() += piece;
    begin = end;
  }
  return lines;
}

// Returns the column of the terminal where the last column begins.
size_t IndentOfLast(const std::vector<size_t>& widths) {
  size_t indent = 0;
  for (size_t i = 0; i + 1 < widths.size(); ++i) indent += widths[i] + kGap;
  return indent;
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
  winsize size = {};
  if (::isatty(STDOUT_FILENO) != 1 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

void TextTable::AddRow(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = PrintableLine(cell);  // a row is one line
  rows_.push_back(std::move(cells));
}

std::vector<size_t> TextTable::Widths() const {
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(DisplayWidth(column.header));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayWidth(row[i]));
  }
  return widths;
}

size_t TextTable::NarrowestWidth() const {
  const std::vector<size_t> widths = Widths();
  return IndentOfLast(widths) + std::min(widths.back(), kNarrowestWrap);
}

std::string TextTable::Render(size_t width) const {
  const size_t last = columns_.size() - 1;
  const std::vector<size_t> widths = Widths();
  const size_t indent = IndentOfLast(widths);
  const size_t wrap = width >= indent + kNarrowestWrap ? width - indent : 0;

  std::string text;
  const auto append_row = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t i = 0; i < last; ++i) {
      line += Padded(cells[i], widths[i], columns_[i].align) + std::string(kGap, ' ');
    }
    if (columns_[last].align == Align::kRight) {
      AppendLine(text, line + Padded(cells[last], widths[last], Align::kRight));
      return;
    }
    for (const std::string& part : Wrap(cells[last], wrap)) {
      AppendLine(text, line + part);
      line.assign(indent, ' ');
    }
  };
  std::vector<std::string> headers;
  for (const Column& column : columns_) headers.push_back(column.header);
  append_row(headers);
  for (const auto& row : rows_) append_row(row);
  return text;
}

}  // namespace kvtune
