#include "lib/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/base/error.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void ThrowSystemError(std::string_view doing, const fs::path& path) {
  throw Error(fmt::format("{} {}: {}", doing, path.string(), std::strerror(errno)));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Returns false on failure, with errno set.
bool WriteAll(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    content.remove_prefix(static_cast<size_t>(written));
  }
  return ::fsync(fd) == 0;
}

}  // namespace

std::string ReadFile(const fs::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) ThrowSystemError("reading", path);
  std::string content;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = ::read(file.get(), buffer, sizeof(buffer));
    if (count == 0) return content;
    if (count > 0) {
      content.append(buffer, static_cast<size_t>(count));
    } else if (errno != EINTR) {
      ThrowSystemError("reading", path);
    }
  }
}

void WriteFileAtomically(const fs::path& path, std::string_view content) {
  // The process id keeps two processes apart that write the same file. Beside `path` the file is on
  // the same file system, where rename() is atomic.
  const fs::path temporary = path.string() + ".tmp" + std::to_string(::getpid());
  {
    // A file of that name was left by a process that was killed. It goes first, because O_EXCL then
    // follows no link that stands in its place.
    ::unlink(temporary.c_str());
    const FileDescriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (file.get() < 0) ThrowSystemError("writing", path);
    if (!WriteAll(file.get(), content)) {
      const int reason = errno;
      ::unlink(temporary.c_str());
      errno = reason;
      ThrowSystemError("writing", path);
    }
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary.c_str());
    errno = reason;
    ThrowSystemError("writing", path);
  }
}

void AppendToFile(const fs::path& path, std::string_view lines) {
  // O_APPEND makes each write go to the end as a whole, also beside another process. O_NOFOLLOW
  // keeps the lines out of a file of another origin that a link leads to.
  const FileDescriptor file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (file.get() < 0 || !WriteAll(file.get(), lines)) ThrowSystemError("appending to", path);
}

void CreateWritableDirectory(const fs::path& path) {
  std::error_code reason;
  fs::create_directories(path, reason);
  if (reason) {
    throw Error(fmt::format("creating the output folder {}: {}", path.string(), reason.message()));
  }
  // access() also answers correctly for root on a read-only mount, where mode bits alone would not.
  if (::access(path.c_str(), W_OK | X_OK) != 0)
    ThrowSystemError("writing into the output folder", path);
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) ThrowSystemError("opening", path);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) ThrowSystemError("opening", path);
  if (!S_ISREG(status.st_mode)) {
    throw Error(
        fmt::format("opening {}: found something else, expected a regular file", path.string()));
  }
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) ThrowSystemError("mapping", path);
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void DropPages(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGE_SIZE));
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin =
      address / page * page;  // only whole pages can go; a neighbour on the page is read again
  // A failure leaves the pages where they are, which costs memory and nothing else.
  ::madvise(reinterpret_cast<void*>(begin), address + bytes.size() - begin, MADV_DONTNEED);
}

}  // namespace kvtune
