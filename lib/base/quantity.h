// Numbers as people write them: "32k", "1.5M", "24GiB".
//
// k, M, G and T, also written Ki, Mi, Gi and Ti, are powers of 1024, in counts and in sizes alike,
// because context lengths and memories are powers of two. A size may have a B behind it: GiB is
// 1024^3 bytes, and GB, which disks and data sheets count in, is 1000^3 bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvtune {

// Reads a count such as "32k" or "4096". nullopt for any other text, for a number that is not
// whole, and for one over 2^62.
std::optional<uint64_t> ParseCount(std::string_view text);

// Reads a size in bytes such as "24GiB", "500M" or "1048576". nullopt as in ParseCount; a fraction
// of a byte is cut off.
std::optional<uint64_t> ParseSize(std::string_view text);

// Writes a size with three digits: "1.50 GiB", "999 B".
std::string SizeText(double bytes);

// Writes a count with three digits, in powers of 1000: "18.0 M".
std::string CountText(double count);

// "7.50e-05", as fmt writes a power of ten, without the zeros and the plus of its exponent:
// "7.50e-5". Any other text stays as it is.
std::string WithShortExponent(const std::string& text);

// Writes a factor with so many digits: "0.975", "26.6", "9830"; powers of ten from a million on and
// for the smallest: "1.2e7".
std::string FactorText(double factor, int digits = 3);

// Writes a count of tokens: "32k" for a multiple of 1024, else its digits.
std::string TokensText(int64_t tokens);

}  // namespace kvtune
