#include "lib/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/system_calls.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void ThrowSystemError(std::string_view doing, const fs::path& path) {
  throw Error(fmt::format("{} {}: {}", doing, path.string(), std::strerror(errno)));
}

std::string_view KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

void RequireRegular(mode_t mode, std::string_view doing, const fs::path& path) {
  if (S_ISREG(mode)) return;
  throw Error(
      fmt::format("{} {}: found {}, expected a regular file", doing, path.string(), KindOf(mode)));
}

// Returns false on failure, with errno set.
bool WriteAll(int file, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = WriteSome(file, content.data(), content.size());
    if (written < 0) return false;
    content.remove_prefix(static_cast<size_t>(written));
  }
  return SyncFile(file) == 0;
}

// Flushes the names of a folder, so that a new one is there after a loss of power. Returns false on
// failure, with errno set.
bool SyncFolderOf(const fs::path& path) {
  const fs::path parent = path.parent_path();
  const FileDescriptor folder(
      OpenFile(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // One that may be written but not read cannot be flushed.
  if (folder.get() < 0) return errno == EACCES;
  // Some file systems have no such operation.
  return SyncFile(folder.get()) == 0 || errno == EINVAL || errno == ENOTSUP;
}

constexpr mode_t kNewFileMode = 0644;

// Writes beside `path` and renames. Names `named` in messages.
void Replace(const fs::path& path, std::string_view content, mode_t mode, const fs::path& named) {
  // The process id keeps two processes apart that write the same file. Beside `path` the file is on
  // the same file system, where rename() is atomic.
  const fs::path temporary = path.string() + ".tmp" + std::to_string(::getpid());
  const auto fail = [&] {
    const int reason = errno;
    ::unlink(temporary.c_str());
    errno = reason;
    ThrowSystemError("writing", named);
  };
  {
    // A file of that name was left by a process that was killed. It goes first, because O_EXCL then
    // follows no link that stands in its place.
    ::unlink(temporary.c_str());
    const FileDescriptor file(
        OpenFile(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kNewFileMode));
    if (file.get() < 0) ThrowSystemError("writing", named);
    if (mode != kNewFileMode && ::fchmod(file.get(), mode) != 0) fail();
    if (!WriteAll(file.get(), content)) fail();
  }
  if (RenameFile(temporary.c_str(), path.c_str()) != 0) fail();
  if (!SyncFolderOf(path)) ThrowSystemError("writing", named);
}

struct OutputPlace {
  fs::path path;  // that links led to
  mode_t mode = kNewFileMode;
};

OutputPlace PlaceOf(const fs::path& named) {
  OutputPlace place{named};
  constexpr int kMostLinks = 40;  // as many as the system follows
  std::error_code no_link;
  for (int links = 0;; ++links) {
    const fs::path target = fs::read_symlink(place.path, no_link);
    if (no_link) break;
    if (links == kMostLinks) {
      errno = ELOOP;
      ThrowSystemError("writing", named);
    }
    place.path = place.path.parent_path() / target;
    // The files behind /dev/stdout are written by this process, or by its caller, already.
    if (place.path.string().starts_with("/proc/")) {
      throw Error(fmt::format("writing {}: found a stream of the process, expected a regular file",
                              named.string()));
    }
  }
  struct stat status = {};
  if (::lstat(place.path.c_str(), &status) != 0) {
    if (errno != ENOENT) ThrowSystemError("writing", named);
    return place;
  }
  RequireRegular(status.st_mode, "writing", named);
  place.mode = status.st_mode & 07777;
  return place;
}

}  // namespace

FileDescriptor OpenForReading(const fs::path& path, std::string_view doing) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) ThrowSystemError(doing, path);
  RequireRegular(status.st_mode, doing, path);
  // Should a pipe have come in its place since, O_NONBLOCK keeps open() from waiting.
  FileDescriptor file(OpenFile(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) ThrowSystemError(doing, path);
  RequireRegular(status.st_mode, doing, path);
  return file;
}

std::string ReadFile(const fs::path& path) {
  const FileDescriptor file = OpenForReading(path, "reading");
  std::string content;
  char buffer[1 << 16];
  while (true) {
    const ssize_t count = ReadSome(file.get(), buffer, sizeof(buffer));
    if (count < 0) ThrowSystemError("reading", path);
    if (count == 0) return content;
    content.append(buffer, static_cast<size_t>(count));
  }
}

void WriteFileAtomically(const fs::path& path, std::string_view content) {
  Replace(path, content, kNewFileMode, path);
}

void WriteOutputFile(const fs::path& path, std::string_view content) {
  const OutputPlace place = PlaceOf(path);
  Replace(place.path, content, place.mode, path);
}

void RequireOutputFile(const fs::path& path) { PlaceOf(path); }

void AppendToFile(const fs::path& path, std::string_view lines) {
  std::error_code ignored;
  const bool is_new = !fs::exists(path, ignored);
  // O_APPEND makes each write go to the end as a whole, also beside another process. O_NOFOLLOW
  // keeps the lines out of a file of another origin that a link leads to, and O_NONBLOCK keeps
  // open() from waiting at a pipe.
  const FileDescriptor file(
      OpenFile(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
               kNewFileMode));
  if (file.get() < 0 || !WriteAll(file.get(), lines) || (is_new && !SyncFolderOf(path))) {
    ThrowSystemError("appending to", path);
  }
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

}  // namespace kvtune
