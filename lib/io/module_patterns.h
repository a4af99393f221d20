// Which modules of a checkpoint a list of names and patterns means: those that were not quantized.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "lib/base/regex.h"

namespace kvtune {

// An entry may be the whole dotted name of a module ("model.layers.0.mlp.up_proj"), its beginning
// or its end, such a name with wildcards ("model.layers.*.self_attn"), or "re:" and a regular
// expression in Python's syntax that matches its beginning (compressed-tensors).
class ModulePatterns {
 public:
  ModulePatterns() = default;
  // Throws Error, which begins with `where`, for an expression that does not compile and for an
  // entry that is too long to be matched quickly.
  ModulePatterns(std::vector<std::string> entries, const std::string& where);

  // Throws Error when matching an expression takes too many steps.
  bool Name(std::string_view module) const;
  const std::vector<std::string>& entries() const { return entries_; }

 private:
  std::vector<std::string> entries_;
  std::unordered_set<std::string> names_;
  std::vector<std::string> wildcards_;
  std::vector<std::shared_ptr<const Regex>> expressions_;
};

}  // namespace kvtune
