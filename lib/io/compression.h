// Files that gzip or zstd compressed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace kvtune {

// A file that grows to more than this many bytes for each of its own, beyond the first MiB, holds
// no prompts: text shrinks to a tenth at best, and a file made to fill the memory to much less.
inline constexpr size_t kMostBytesPerCompressed = 256;
inline constexpr size_t kFreeDecompressedBytes = size_t{1} << 20;

// Whether the bytes begin as a file of gzip or zstd does.
bool IsCompressed(std::string_view bytes);

// Decompresses all members of a gzip file, or all frames of a zstd file, whose window may have up
// to 128 MiB. Throws Error, which names `source`, when the bytes are damaged, end too early, or
// grow beyond the bound above.
std::string Decompress(std::string_view bytes, const std::string& source);

}  // namespace kvtune
