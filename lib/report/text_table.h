// Plain-text tables for a terminal or a pipe: aligned columns, no frames.
//
// Example:
//   plan  bits  bytes/token        KL  layers
//   p00   8.50         2176   1.2e-05  KV8
//   p01   6.33         1621   8.7e-05  K8V4;0:KV8;
//                                      7-9:KV8
//
// Only the last column may grow long. When the width is limited, it continues on the next line
// below itself.
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
};

class TextTable {
 public:
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void AddRow(std::vector<std::string> cells);

  // Returns lines that end in '\n', without trailing spaces. `width` is in terminal columns; 0
  // stands for no limit.
  std::string Render(size_t width) const;

  // Returns the smallest width that Render can keep to. Below it, the other columns leave no room
  // for the last one, and Render does not wrap it.
  size_t NarrowestWidth() const;

 private:
  // Returns the width of every column, including its header.
  std::vector<size_t> Widths() const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Returns the width of the terminal on stdout in columns. It is 0 when stdout is a pipe or a file,
// so that scripts get one line for each row.
size_t TerminalWidth();

// Returns how many terminal columns a UTF-8 text takes: one for each code point, and none for
// combining marks. (East Asian wide characters do not occur in kvtune's tables.)
size_t DisplayWidth(std::string_view utf8);

}  // namespace kvtune
