// What all fuzzers share. A fuzzer gives a reader any bytes. The reader may refuse them with an
// Error; any other exception, a broken promise, a sanitizer's report, an input that takes more time
// of a processor or more memory than allowed end the fuzzer with a find.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>

#include "lib/base/error.h"

namespace kvtune::fuzz {

// Bytes of memory that any input may take, however short: tables of formats and targets that are
// made once, and the 10,000 layers that a single number may ask for.
inline constexpr int64_t kFreeBytes = int64_t{32} << 20;
// Beyond that, a reader may take this many bytes of memory for each byte of its input. A value of
// JSON takes 16 bytes for a text of two, and vectors grow by doubling.
inline constexpr int64_t kBytesPerByte = 256;
// The most time of a processor that an input may take. A clock on the wall would run on while other
// programs have it.
inline constexpr double kMostSeconds = 5;

// Measures the most memory that is allocated at a time while it lives.
class MemoryMeter {
 public:
  MemoryMeter();
  int64_t peak_bytes() const;

 private:
  int64_t start_;
};

// Ends the program when a promise does not hold.
inline void Require(bool holds, const std::string& promise) {
  if (holds) return;
  std::fprintf(stderr, "==fuzzer== broken promise: %s\n", promise.c_str());
  std::abort();
}

// Calls read() for an input of `size` bytes. Returns what LLVMFuzzerTestOneInput has to return.
template <typename Read>
int Try(size_t size, Read&& read, int64_t bytes_per_byte = kBytesPerByte,
        int64_t free_bytes = kFreeBytes) {
  const MemoryMeter meter;
  const std::clock_t start = std::clock();
  try {
    read();
  } catch (const Error& error) {
    Require(!std::string_view(error.what()).empty(), "an Error says what was found");
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  if (seconds > kMostSeconds) {
    std::fprintf(stderr, "==fuzzer== time: %zu bytes of input took %.1f s, allowed are %.1f s\n",
                 size, seconds, kMostSeconds);
    std::abort();
  }
  const int64_t allowed = free_bytes + bytes_per_byte * static_cast<int64_t>(size);
  if (meter.peak_bytes() > allowed) {
    std::fprintf(stderr,
                 "==fuzzer== memory: %zu bytes of input took %lld bytes, allowed are %lld\n", size,
                 static_cast<long long>(meter.peak_bytes()), static_cast<long long>(allowed));
    std::abort();
  }
  return 0;
}

inline std::string_view TextOf(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Takes a byte off the front of `text`, which chooses one of `count` cases.
inline size_t TakeChoice(std::string_view& text, size_t count) {
  if (text.empty()) return 0;
  const auto choice = static_cast<unsigned char>(text.front());
  text.remove_prefix(1);
  return choice % count;
}

}  // namespace kvtune::fuzz
