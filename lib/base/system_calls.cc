#include "lib/base/system_calls.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace kvtune {
namespace {

SystemFaultHook& Hook() {
  static SystemFaultHook hook;
  return hook;
}

// Makes `call` with the most bytes that it may transfer, again and again while signals interrupt
// it.
template <typename Call>
auto Make(SystemCall kind, decltype(std::declval<Call>()(size_t{})) failure, const Call& call) {
  while (true) {
    auto result = failure;
    const SystemFault fault = Hook() ? Hook()(kind) : SystemFault{};
    if (fault.error != 0) {
      errno = fault.error;
    } else {
      result = call(fault.at_most);
    }
    if (result != failure || errno != EINTR) return result;
  }
}

}  // namespace

void SetSystemFaultHook(SystemFaultHook hook) { Hook() = std::move(hook); }

int OpenFile(const char* path, int flags, mode_t mode) {
  return Make(SystemCall::kOpen, -1, [&](size_t) { return ::open(path, flags, mode); });
}

int OpenTemporaryFile(char* path) {
  return Make(SystemCall::kOpen, -1, [&](size_t) { return ::mkostemp(path, O_CLOEXEC); });
}

ssize_t ReadSome(int file, void* bytes, size_t size) {
  return Make(SystemCall::kRead, ssize_t{-1},
              [&](size_t most) { return ::read(file, bytes, std::min(size, most)); });
}

ssize_t WriteSome(int file, const void* bytes, size_t size) {
  return Make(SystemCall::kWrite, ssize_t{-1},
              [&](size_t most) { return ::write(file, bytes, std::min(size, most)); });
}

int SyncFile(int file) {
  return Make(SystemCall::kSync, -1, [&](size_t) { return ::fsync(file); });
}

int RenameFile(const char* from, const char* to) {
  return Make(SystemCall::kRename, -1, [&](size_t) { return std::rename(from, to); });
}

int ReserveFile(int file, size_t size) {
  return Make(SystemCall::kReserve, -1, [&](size_t) {
    // It returns its reason instead of setting errno.
    errno = ::posix_fallocate(file, 0, static_cast<off_t>(size));
    return errno == 0 ? 0 : -1;
  });
}

void* MapFile(int file, size_t size, int protection, int flags) {
  return Make(SystemCall::kMap, MAP_FAILED,
              [&](size_t) { return ::mmap(nullptr, size, protection, flags, file, 0); });
}

}  // namespace kvtune
