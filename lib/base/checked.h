// Products of sizes that come from files, which may be as large as their writer liked.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>

namespace kvtune {

// nullopt when the product, or one on the way to it, does not fit.
constexpr std::optional<int64_t> CheckedProduct(std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  for (const int64_t factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product)) return std::nullopt;
  }
  return product;
}

constexpr std::optional<int64_t> CheckedSum(std::initializer_list<int64_t> terms) {
  int64_t sum = 0;
  for (const int64_t term : terms) {
    if (__builtin_add_overflow(sum, term, &sum)) return std::nullopt;
  }
  return sum;
}

}  // namespace kvtune
