// A lock on a file, so that two processes do not work in one folder.
#pragma once

#include <filesystem>

namespace kvtune {

// The lock is held until its destruction or the end of the process, however that ends. The file
// itself stays.
class FileLock {
 public:
  // Creates the file when it does not exist. `folder` names what is locked in messages. Throws
  // Error when another process holds it.
  FileLock(const std::filesystem::path& path, const std::filesystem::path& folder);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace kvtune
