// Memory that lives in a temporary file, for what does not fit into the RAM.
#pragma once

#include <cstddef>
#include <span>

namespace kvtune {

// A writable memory map of a nameless file in the system's temporary folder (TMPDIR). The file is
// unlinked as soon as it is open, so that nothing stays behind however the process ends.
class ScratchFile {
 public:
  // Takes `size` bytes of the disk at once, so that a full disk shows here and not as a crash
  // later. Throws Error, which names the folder and the system's reason.
  explicit ScratchFile(size_t size);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }
  // Takes these bytes out of the resident memory. Their content is kept, because the next touch
  // reads it from the file again. `part` must begin and end at multiples of kPageBytes, or at the
  // end of bytes().
  void Evict(std::span<std::byte> part) const;

  static constexpr size_t kPageBytes = 4096;

 private:
  std::span<std::byte> bytes_;
};

}  // namespace kvtune
