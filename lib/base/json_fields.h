// Strict reading of JSON: every field is checked for presence and type, every key must be known.
//
// Goal: a wrong file gives one line that names the file, the path of the field, what was found and
// what was expected. Non-goal: a schema language.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

// Keys keep the order in which they were written, so that a file is the same byte for byte.
using Json = nlohmann::ordered_json;

// Throws Error with `source` (a path or "standard input, line 3"), line and column of the mistake.
// Objects that give a key twice are refused.
Json ParseJson(std::string_view text, const std::string& source);
Json ReadJsonFile(const std::filesystem::path& path);

// Two-space indentation and a final newline; floats in their shortest form that reads back equal.
std::string DumpJson(const Json& json);
void WriteJsonFileAtomically(const std::filesystem::path& path, const Json& json);

// A view of one JSON object while it is read. Every getter throws Error when the field is missing
// or of another type. REQUIRES: the Json outlives the view.
class JsonFields {
 public:
  // `where` names the object in messages, for example "run/front.json: plans[3]".
  JsonFields(const Json& object, std::string where);

  bool Has(std::string_view key) const;
  std::string String(std::string_view key);
  bool Bool(std::string_view key);
  int64_t Integer(std::string_view key);
  double Number(std::string_view key);
  std::vector<std::string> Strings(std::string_view key);
  std::vector<int64_t> Integers(std::string_view key);
  std::vector<double> Numbers(std::string_view key);
  JsonFields Object(std::string_view key);
  // The elements of an array of objects, each with its index in its name.
  std::vector<JsonFields> Objects(std::string_view key);
  // Any value; also marks the key as known.
  const Json& Value(std::string_view key);
  // Keys of this object in file order.
  std::vector<std::string> Keys() const;

  // Marks a key as known without reading it.
  void Ignore(std::string_view key);
  // Throws Error when the object has a key that no getter asked for: a silent default for a
  // mistyped key is worse than a refusal.
  void RequireNoOthers() const;

  const std::string& where() const { return where_; }
  [[noreturn]] void Fail(std::string_view key, std::string_view found_and_expected) const;

 private:
  const Json& Find(std::string_view key, std::string_view expected);

  const Json* object_;
  std::string where_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace kvtune
