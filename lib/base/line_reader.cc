#include "lib/base/line_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/system_calls.h"

namespace kvtune {

LineReader::LineReader(FileDescriptor file, std::string source)
    : file_(std::move(file)), source_(std::move(source)) {}

LineReader LineReader::StandardInput() {
  return {FileDescriptor(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)), "standard input"};
}

bool LineReader::Next(std::string& line, size_t longest) {
  size_t searched = position_;
  while (true) {
    const size_t end = buffer_.find('\n', searched);
    const bool is_whole = end != std::string::npos;
    const size_t size = (is_whole ? end : buffer_.size()) - position_;
    if (size > longest) {
      throw Error(fmt::format("reading {}: found a line of more than {} bytes, expected text",
                              source_, longest));
    }
    if (is_whole || ended_) {
      if (!is_whole && size == 0) return false;
      line.assign(buffer_, position_, size);
      position_ += is_whole ? size + 1 : size;
      return true;
    }
    buffer_.erase(0, std::exchange(position_, 0));
    searched = buffer_.size();
    char block[1 << 16];
    const ssize_t count = ReadSome(file_.get(), block, sizeof block);
    if (count < 0) {
      throw Error(fmt::format("reading {}: {}", source_, std::strerror(errno)));
    }
    ended_ = count == 0;
    buffer_.append(block, static_cast<size_t>(count));
  }
}

}  // namespace kvtune
