// Plain-text tables for a terminal or a pipe: aligned columns, no frames.
//
//   plan  bits  bytes/token        KL  layers
//   p00   8.50         2176   1.2e-05  KV8
//   p01   6.33         1621   8.7e-05  K8V4;0:KV8;
//                                      7-9:KV8
//
// The last column is the one that may grow long: where the width is limited it continues on the
// next line below itself.
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

  // Lines that end in '\n', without trailing spaces. `width` is in terminal columns; 0: no limit.
  std::string Render(size_t width) const;

  // Below this width Render gives up: the other columns leave no room for the last one.
  size_t NarrowestWidth() const;

 private:
  // Of every column, headers included.
  std::vector<size_t> Widths() const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Columns of the terminal on stdout; 0 when stdout is a pipe or a file, so that scripts get one
// line a row.
size_t TerminalWidth();

// Columns that UTF-8 text takes on a terminal, counting one a code point and none for combining
// marks. (East Asian wide characters do not occur in our tables.)
size_t DisplayWidth(std::string_view utf8);

}  // namespace kvtune
