// An open file that is closed with its owner.
#pragma once

#include <unistd.h>

#include <utility>

namespace kvtune {

class FileDescriptor {
 public:
  // Takes what open() returned, also where that is a failure.
  explicit FileDescriptor(int file) : file_(file) {}
  ~FileDescriptor() {
    if (file_ >= 0) ::close(file_);
  }
  FileDescriptor(FileDescriptor&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return file_; }

 private:
  int file_;
};

}  // namespace kvtune
