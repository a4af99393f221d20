// Plain-text tables for a terminal or a pipe: aligned columns, no frames.
//
// Example:
//   plan  bits  bytes/token        KL  layers
//   p00   8.50         2176   1.2e-05  KV8
//   p01   6.33         1621   8.7e-05  K8V4;0:KV8;
//                                      7-9:KV8
//
// Where the width is limited, a table never takes more: columns of text continue on the next line
// below themselves, and columns that may be left out are, in the order of their ranks. What is
// still too wide is cut into several tables below each other, each with the first column.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

enum class Align { kLeft, kRight };

struct Column {
  std::string header;
  Align align = Align::kRight;
  // 0: always shown. Others are left out where there is no room, those of the smallest rank first.
  int rank = 0;
  // Whether a text column may be made narrower, its cells continuing on the next line.
  bool wraps = true;
};

class TextTable {
 public:
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void AddRow(std::vector<std::string> cells);

  // Returns lines that end in '\n', without trailing spaces. `width` is in terminal columns; 0
  // stands for no limit.
  std::string Render(size_t width) const;

 private:
  bool Wraps(size_t column) const;
  // Returns the widths of these columns where nothing is limited, headers included.
  std::vector<size_t> NaturalWidths(const std::vector<size_t>& shown) const;
  // Returns the widths that text columns can be shrunk to without breaking words unreadably.
  std::vector<size_t> SmallestWidths(const std::vector<size_t>& shown) const;
  std::vector<size_t> WidthsWithin(const std::vector<size_t>& shown, size_t width) const;
  std::vector<size_t> WithoutLeastNeeded(std::vector<size_t> shown, size_t width) const;
  std::string RenderColumns(const std::vector<size_t>& shown, size_t width) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Returns the width of the terminal on stdout in columns, or what the environment variable COLUMNS
// says of it. It is 0 when stdout is a pipe or a file, so that scripts get one line for each row.
size_t TerminalWidth();

// Breaks every line of `text` at spaces so that none takes more than `width` columns; continued
// lines begin as far in as the line that they continue. A width of 0 changes nothing.
std::string WrappedText(std::string_view text, size_t width);

// Returns how many terminal columns a UTF-8 text takes: one for each code point, and none for
// combining marks. (East Asian wide characters do not occur in kvtune's tables.)
size_t DisplayWidth(std::string_view utf8);

}  // namespace kvtune
