#include "lib/io/module_patterns.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <utility>

#include "lib/base/error.h"

namespace kvtune {
namespace {

constexpr std::string_view kExpression = "re:";

// The whole name, its beginnings and its ends, as far as dots part them.
std::vector<std::string> PartsOf(std::string_view module) {
  std::vector<std::string> parts = {std::string(module)};
  for (size_t dot = module.find('.'); dot != std::string_view::npos;
       dot = module.find('.', dot + 1)) {
    parts.emplace_back(module.substr(0, dot));
    parts.emplace_back(module.substr(dot + 1));
  }
  return parts;
}

}  // namespace

ModulePatterns::ModulePatterns(std::vector<std::string> entries, const std::string& where)
    : entries_(std::move(entries)) {
  // Names of modules have about 50 characters.
  constexpr size_t kLongest = 2000;
  for (const std::string& entry : entries_) {
    if (entry.size() > kLongest) {
      throw Error(fmt::format("{}: found a pattern of {} bytes (\"{}...\"), expected at most {}",
                              where, entry.size(), entry.substr(0, 60), kLongest));
    }
    if (entry.starts_with(kExpression)) {
      expressions_.push_back(std::make_shared<Regex>(entry.substr(kExpression.size()),
                                                     RegexSyntax::kPython, where, entry));
    } else if (entry.find_first_of("*?[\\") == std::string::npos) {
      names_.insert(entry);
    } else {
      wildcards_.push_back(entry);
    }
  }
}

bool ModulePatterns::Name(std::string_view module) const {
  if (entries_.empty()) return false;
  const std::vector<std::string> parts = PartsOf(module);
  const auto is_named = [&](const std::string& part) {
    return names_.contains(part) || std::ranges::any_of(wildcards_, [&](const std::string& entry) {
             return ::fnmatch(entry.c_str(), part.c_str(), 0) == 0;
           });
  };
  if (std::ranges::any_of(parts, is_named)) return true;
  return std::ranges::any_of(expressions_, [&](const std::shared_ptr<const Regex>& expression) {
    return expression->MatchesBeginning(module,
                                        "matching a pattern of the modules that are not quantized");
  });
}

}  // namespace kvtune
