#include "lib/base/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/system_calls.h"

namespace kvtune {

FileLock::FileLock(const std::filesystem::path& path, const std::filesystem::path& folder)
    : descriptor_(
          OpenFile(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666)) {
  // flock() and not a file that exists: the system lets go of it also when the process is killed.
  if (descriptor_ >= 0 && ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int reason = errno;
  if (descriptor_ >= 0) ::close(descriptor_);
  if (reason == EWOULDBLOCK) {
    throw Error(fmt::format("opening {}: found another kvtune at work in it, expected none",
                            folder.string()));
  }
  throw Error(fmt::format("locking {}: {}", path.string(), std::strerror(reason)));
}

FileLock::~FileLock() { ::close(descriptor_); }

}  // namespace kvtune
