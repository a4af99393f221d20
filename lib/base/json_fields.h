// Strict reading of JSON: every field is checked for its presence and type, and every key must be
// known.
//
// The goal is that a wrong file gives one line that names the file, the path of the field, what was
// found and what was expected. A schema language is not a goal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

// Keys keep the order in which they were written, so that the same content gives the same file,
// byte for byte.
using Json = nlohmann::ordered_json;

// Throws Error that names `source` (a path) and the line and column of the mistake. An object that
// gives a key twice is refused. The time is linear in the length of the text.
Json ParseJson(std::string_view text, const std::string& source);
// Does the same for one line, whose number `source` tells ("prompts.jsonl, line 3").
Json ParseJsonLine(std::string_view line, const std::string& source);
// Returns nullopt for a text that is not JSON, and throws Error as ParseJson does for one that
// nests too deeply or gives a key twice.
std::optional<Json> TryParseJson(std::string_view text, const std::string& source);
Json ReadJsonFile(const std::filesystem::path& path);

// Indents by two spaces and ends with a newline. A float is written in the shortest form that reads
// back equal.
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
  // An integer from `least` to 2^53, up to which a double holds every one.
  int64_t IntegerFrom(std::string_view key, int64_t least);
  // An integer that may use all 64 bits, as a seed does.
  uint64_t Unsigned(std::string_view key);
  double Number(std::string_view key);
  // A number from `least` to `most`.
  double NumberWithin(std::string_view key, double least, double most);
  std::vector<std::string> Strings(std::string_view key);
  std::vector<int64_t> Integers(std::string_view key);
  std::vector<double> Numbers(std::string_view key);
  JsonFields Object(std::string_view key);
  // The elements of an array of objects. Messages name each with its index.
  std::vector<JsonFields> Objects(std::string_view key);
  // Returns a value of any type, and marks its key as known.
  const Json& Value(std::string_view key);
  // The keys of this object in the order of the file.
  std::vector<std::string> Keys() const;

  // Marks a key as known without reading it.
  void Ignore(std::string_view key);
  // Throws Error when the object has a key that no getter asked for, because a silent default for a
  // mistyped key is worse than a refusal.
  void RequireNoOthers() const;

  const std::string& where() const { return where_; }
  [[noreturn]] void Fail(std::string_view key, std::string_view found_and_expected) const;

 private:
  struct Index;

  // Null where there is none.
  const Json* Look(std::string_view key) const;
  const Json& Find(std::string_view key, std::string_view expected);

  const Json* object_;
  std::string where_;
  std::set<std::string, std::less<>> known_;
  mutable std::shared_ptr<const Index> index_;  // of a large object; made when it is needed
};

}  // namespace kvtune
