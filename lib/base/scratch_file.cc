#include "lib/base/scratch_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "lib/base/error.h"

namespace kvtune {

ScratchFile::ScratchFile(size_t size) {
  if (size == 0) return;
  std::error_code missing;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(missing);
  if (missing) {
    const char* named = std::getenv("TMPDIR");
    throw Error(
        fmt::format("making a temporary file of {} bytes in {}: {} (TMPDIR names the folder)", size,
                    named != nullptr ? named : "/tmp", missing.message()));
  }
  const auto fail = [&](int reason) {
    throw Error(
        fmt::format("making a temporary file of {} bytes in {}: {} (TMPDIR names another folder)",
                    size, folder.string(), std::strerror(reason)));
  };
  std::string path = (folder / "kvtune-XXXXXX").string();
  const int file = ::mkostemp(path.data(), O_CLOEXEC);
  if (file < 0) fail(errno);
  ::unlink(path.c_str());
  int reason = ::posix_fallocate(file, 0, static_cast<off_t>(size));
  void* address = MAP_FAILED;
  if (reason == 0) {
    address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (address == MAP_FAILED) reason = errno;
  }
  ::close(file);
  if (reason != 0) fail(reason);
  bytes_ = {static_cast<std::byte*>(address), size};
}

ScratchFile::~ScratchFile() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

void ScratchFile::Evict(std::span<std::byte> part) const {
  // Because the map is shared with the file, the pages leave this process but stay in the file.
  if (!part.empty()) ::madvise(part.data(), part.size(), MADV_DONTNEED);
}

}  // namespace kvtune
