// Whole-file reading and writing that never leaves half a file behind.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace kvtune {

// Throws Error, which names `path` and the system's reason.
std::string ReadFile(const std::filesystem::path& path);

// Writes to a temporary file beside `path`, flushes it to disk and renames it over `path`, so that
// a reader sees the old content or the new, but never a part. When it throws Error, it leaves
// `path` as it was.
void WriteFileAtomically(const std::filesystem::path& path, std::string_view content);

// Appends `lines` (each must end in '\n') in one write and flushes it, so that a crash can tear at
// most the last line. Throws Error.
void AppendToFile(const std::filesystem::path& path, std::string_view lines);

// Creates `path` and its parents and checks that a file can be written in it. Throws Error.
void CreateWritableDirectory(const std::filesystem::path& path);

// A read-only memory map of a whole file, unmapped on destruction. Pages are read on first touch.
class MappedFile {
 public:
  // Throws Error when `path` cannot be opened or mapped. An empty file maps to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

// Takes the pages that hold these bytes of a MappedFile out of the resident memory. The bytes stay
// readable, because the next touch reads their pages from the file again.
void DropPages(std::span<const std::byte> bytes);

}  // namespace kvtune
