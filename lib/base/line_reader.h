// Reads a file or standard input line by line.
#pragma once

#include <string>

#include "lib/base/file_descriptor.h"

namespace kvtune {

class LineReader {
 public:
  // A longer line is no text that anybody wrote, and would fill the memory (/dev/zero has no line
  // breaks at all).
  static constexpr size_t kLongestLine = size_t{1} << 28;

  // `source` names the input in messages.
  LineReader(FileDescriptor file, std::string source);
  // Standard input, which stays open.
  static LineReader StandardInput();

  // Reads the next line without its line break. Returns false at the end. Throws Error when the
  // system cannot read on, and for a line of more than `longest` bytes.
  bool Next(std::string& line, size_t longest = kLongestLine);

 private:
  FileDescriptor file_;
  std::string source_;
  std::string buffer_;  // what is read and not yet given out begins at position_
  size_t position_ = 0;
  bool ended_ = false;
};

}  // namespace kvtune
