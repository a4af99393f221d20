// A file as memory, for what is larger than the memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace kvtune {

// A read-only memory map of a whole file, unmapped on destruction. Pages are read on first touch.
//
// Other programs may write the file meanwhile. A page that a shorter file no longer has reads as
// zeros instead of ending the process, and RequireUnchanged tells.
class MappedFile {
 public:
  // Throws Error when `path` is no regular file, or cannot be opened or mapped. An empty file maps
  // to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

  // Throws Error when the file has another size or time of modification than when it was opened, or
  // when a page of it could not be read. What was read before a call that returns is the content
  // that the file had when it was opened, as far as the file system keeps times.
  void RequireUnchanged() const;

 private:
  struct State;

  std::filesystem::path path_;
  std::unique_ptr<State> state_;
  std::span<const std::byte> bytes_;
};

// Takes the pages that hold these bytes of a MappedFile out of the resident memory. The bytes stay
// readable, because the next touch reads their pages from the file again.
void DropPages(std::span<const std::byte> bytes);

}  // namespace kvtune
