// Files that gzip or zstd compressed.
#pragma once

#include <string>
#include <string_view>

namespace kvtune {

// Whether the bytes begin as a file of gzip or zstd does.
bool IsCompressed(std::string_view bytes);

// Decompresses all members of a gzip file, or all frames of a zstd file. Throws Error, which names
// `source`, when the bytes are damaged or end too early.
std::string Decompress(std::string_view bytes, const std::string& source);

}  // namespace kvtune
