// Makes calls into the operating system fail (lib/base/system_calls.h).
#pragma once

#include <cerrno>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "lib/base/system_calls.h"

namespace kvtune {

// Faults as long as it lives.
class SystemFaults {
 public:
  explicit SystemFaults(SystemFaultHook hook) { SetSystemFaultHook(std::move(hook)); }
  ~SystemFaults() { SetSystemFaultHook({}); }
  SystemFaults(const SystemFaults&) = delete;
  SystemFaults& operator=(const SystemFaults&) = delete;
};

// The calls that `work` makes.
inline size_t CountSystemCalls(const std::function<void()>& work) {
  size_t count = 0;
  const SystemFaults faults([&count](SystemCall) {
    ++count;
    return SystemFault{};
  });
  work();
  return count;
}

// Call number `nth`, counted from 0, fails.
inline SystemFaultHook FailNth(size_t nth, int error) {
  return [nth, error, number = size_t{0}](SystemCall) mutable {
    return number++ == nth ? SystemFault{.error = error} : SystemFault{};
  };
}

// Write number `nth` writes half of what it is given, and the disk is full from then on.
inline SystemFaultHook FillDiskAtWrite(size_t nth, size_t bytes) {
  return [nth, bytes, number = size_t{0}](SystemCall call) mutable {
    if (call != SystemCall::kWrite) return SystemFault{};
    const size_t write = number++;
    if (write == nth) return SystemFault{.at_most = bytes};
    return write > nth ? SystemFault{.error = ENOSPC} : SystemFault{};
  };
}

// A signal comes before every call, which then has to be made again.
inline SystemFaultHook InterruptEveryCall() {
  return [number = size_t{0}](SystemCall) mutable {
    return number++ % 2 == 0 ? SystemFault{.error = EINTR} : SystemFault{};
  };
}

// Every read and write transfers a few bytes at a time.
inline SystemFaultHook TransferAtMost(size_t bytes) {
  return [bytes](SystemCall) { return SystemFault{.at_most = bytes}; };
}

}  // namespace kvtune
