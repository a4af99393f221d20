// Which parts of one piece of memory are taken. This file is torch-free.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace kvtune {

// Hands out ranges of whole units. What is given back joins what is free beside it.
class ExtentPool {
 public:
  explicit ExtentPool(int64_t units);

  // The beginning of the first range of so many units that is free; nullopt where there is none.
  // REQUIRES: units > 0
  std::optional<int64_t> Take(int64_t units);
  // Gives a range back. REQUIRES: it begins where Take said and was not given back yet.
  void Give(int64_t begin);

 private:
  std::map<int64_t, int64_t> free_;   // the units of a range by its beginning
  std::map<int64_t, int64_t> taken_;  // the same
};

}  // namespace kvtune
