#include "lib/base/scratch_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "lib/base/error.h"
#include "lib/base/file_descriptor.h"
#include "lib/base/system_calls.h"

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
  const FileDescriptor file(OpenTemporaryFile(path.data()));
  if (file.get() < 0) fail(errno);
  ::unlink(path.c_str());
  if (ReserveFile(file.get(), size) != 0) fail(errno);
  void* address = MapFile(file.get(), size, PROT_READ | PROT_WRITE, MAP_SHARED);
  if (address == MAP_FAILED) fail(errno);
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
