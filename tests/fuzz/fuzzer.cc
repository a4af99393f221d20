#include "tests/fuzz/fuzzer.h"

#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <atomic>

#include "lib/base/log.h"

namespace kvtune::fuzz {
namespace {

std::atomic<int64_t> live_bytes{0};
std::atomic<int64_t> most_bytes{0};

void CountAllocation(const volatile void*, size_t size) {
  const int64_t live = live_bytes += static_cast<int64_t>(size);
  if (live > most_bytes) most_bytes = live;
}

void CountRelease(const volatile void* pointer) {
  if (pointer == nullptr) return;
  live_bytes -=
      static_cast<int64_t>(__sanitizer_get_allocated_size(const_cast<const void*>(pointer)));
}

}  // namespace

MemoryMeter::MemoryMeter() : start_(live_bytes) { most_bytes = start_; }

int64_t MemoryMeter::peak_bytes() const { return most_bytes - start_; }

}  // namespace kvtune::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  kvtune::SetLogLevel(kvtune::LogLevel::kQuiet);
  __sanitizer_install_malloc_and_free_hooks(kvtune::fuzz::CountAllocation,
                                            kvtune::fuzz::CountRelease);
  return 0;
}
