// A folder that a test has for itself and that is removed with the test. It lies in memory where
// the system has such a place, so that flushing files to disk costs nothing.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>

namespace kvtune {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    for (const std::filesystem::path& parent :
         {std::filesystem::path("/dev/shm"), std::filesystem::temp_directory_path()}) {
      std::string name = (parent / "kvtune_test_XXXXXX").string();
      if (::mkdtemp(name.data())) {
        path_ = name;
        return;
      }
    }
    throw std::runtime_error("no place for a temporary folder");
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace kvtune
