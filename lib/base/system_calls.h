// The calls into the operating system by which kvtune reads and writes files. All of them go
// through here, so that a test can make any one of them fail.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>

namespace kvtune {

enum class SystemCall { kOpen, kRead, kWrite, kSync, kRename, kMap, kReserve };

// What a test makes of a call.
struct SystemFault {
  int error = 0;              // the call fails with this errno; 0: it is made
  size_t at_most = SIZE_MAX;  // bytes that a read or write may transfer
};
using SystemFaultHook = std::function<SystemFault(SystemCall)>;

// From now on `hook` is asked before every call, which may come from any thread; an empty one ends
// that. For tests alone.
void SetSystemFaultHook(SystemFaultHook hook);

// These return what the functions of the system return, and set errno as they do. A call that a
// signal interrupted (EINTR) is made again.
int OpenFile(const char* path, int flags, mode_t mode = 0);
// Replaces the XXXXXX at the end of `path` by a name that is free.
int OpenTemporaryFile(char* path);
ssize_t ReadSome(int file, void* bytes, size_t size);
ssize_t WriteSome(int file, const void* bytes, size_t size);
// Flushes a file, or the names in a directory, to the disk.
int SyncFile(int file);
int RenameFile(const char* from, const char* to);
// Takes `size` bytes of the disk for the file. Returns 0 on success.
int ReserveFile(int file, size_t size);
void* MapFile(int file, size_t size, int protection, int flags);

}  // namespace kvtune
