// Files that gzip compressed.
#pragma once

#include <string>
#include <string_view>

namespace kvtune {

bool IsGzip(std::string_view bytes);

// Decompresses all members of a gzip file. Throws Error, which names `source`, when the bytes are
// damaged or end too early.
std::string Gunzip(std::string_view bytes, const std::string& source);

}  // namespace kvtune
