// ParseJson and its kind: from text to values, with messages of our own.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "lib/base/error.h"
#include "lib/base/json_depth.h"
#include "lib/base/json_fields.h"

namespace kvtune {
namespace {

enum class TextKind { kFile, kLine };

// A long text would make the message useless; it begins like the whole.
std::string Clipped(std::string_view text) {
  constexpr size_t kMost = 60;
  return std::string(text.substr(0, kMost)) + (text.size() > kMost ? "..." : "");
}

// "line 3, column 7", for example, of a byte offset; "column 7" where the source tells the line.
std::string Position(std::string_view text, size_t offset, TextKind kind) {
  offset = std::min(offset, text.size());
  const std::string_view before = text.substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t line_start = before.rfind('\n');
  const size_t column =
      std::max<size_t>(line_start == std::string_view::npos ? offset : offset - line_start - 1, 1);
  return kind == TextKind::kLine ? fmt::format("column {}", column)
                                 : fmt::format("line {}, column {}", line, column);
}

// The word that Python writes for a number that JSON does not have, where one stands at the
// one-based offset of a mistake; otherwise empty.
std::string_view NonFiniteAt(std::string_view text, size_t byte) {
  const std::string_view rest = text.substr(std::min(byte > 0 ? byte - 1 : 0, text.size()));
  for (const std::string_view word : {"NaN", "Infinity"}) {
    if (rest.starts_with(word)) return word;
  }
  return {};
}

// The text of nlohmann/json repeats the position and has an error number of its own, so only what
// stands behind " - " is kept: the reason, and what was read or expected.
std::string ReasonOf(std::string_view message) {
  constexpr std::string_view kCause = " - ", kRead = "; last read: ";
  const size_t cause = message.find(kCause);
  if (cause != std::string_view::npos) message.remove_prefix(cause + kCause.size());
  const size_t read = message.find(kRead);
  if (read == std::string_view::npos) return std::string(message);
  return fmt::format("{}{}{}", message.substr(0, read), kRead,
                     Clipped(message.substr(read + kRead.size())));
}

// Builds a value from parse events. nlohmann/json's own builder searches an object that keeps the
// order of its keys for every key that it adds, which takes minutes for 100,000 of them, and lets
// the last of two equal keys win.
class JsonBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit JsonBuilder(const std::string& source) : source_(source) {}

  Json Take() { return std::move(root_); }

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(int64_t value) override { return Add(value); }
  bool number_unsigned(uint64_t value) override { return Add(value); }
  bool number_float(double value, const std::string&) override { return Add(value); }
  bool string(std::string& value) override { return Add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }  // JSON text has no binary values

  bool key(std::string& value) override {
    if (!keys_.back().insert(value).second) {
      throw Error(fmt::format("{}: found the key \"{}\" twice in one object, expected it once",
                              source_, Clipped(value)));
    }
    key_ = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    keys_.emplace_back();
    return Open(Json::object());
  }
  bool end_object() override {
    keys_.pop_back();
    open_.pop_back();
    return true;
  }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }

  bool parse_error(size_t, const std::string&, const Json::exception& error) override {
    if (const auto* syntax = dynamic_cast<const Json::parse_error*>(&error)) throw *syntax;
    throw Error(fmt::format("{}: found a number that no double holds, expected finite numbers ({})",
                            source_, Clipped(error.what())));
  }

 private:
  bool Add(Json value) {
    Place(std::move(value));
    return true;
  }

  bool Open(Json value) {
    if (open_.size() > static_cast<size_t>(kDeepestJson)) {
      throw Error(fmt::format("{}: found values nested more than {} deep, expected at most that",
                              source_, kDeepestJson));
    }
    open_.push_back(&Place(std::move(value)));
    return true;
  }

  // A pointer into a container stays valid until the container gets a sibling of what is pointed
  // to, and that is closed by then.
  Json& Place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& parent = *open_.back();
    if (parent.is_array()) {
      auto& array = parent.get_ref<Json::array_t&>();
      array.push_back(std::move(value));
      return array.back();
    }
    auto& object = parent.get_ref<Json::object_t&>();
    object.emplace_back(std::move(key_), std::move(value));  // of std::vector: it searches nothing
    return object.back().second;
  }

  const std::string& source_;
  Json root_;
  std::vector<Json*> open_;
  std::vector<std::unordered_set<std::string>> keys_;  // of the objects that are open
  std::string key_;
};

// Throws Json::parse_error for what is not JSON.
Json Build(std::string_view text, const std::string& source) {
  JsonBuilder builder(source);
  Json::sax_parse(text, &builder);
  return builder.Take();
}

Json Parse(std::string_view text, const std::string& source, TextKind kind) {
  if (text.starts_with("version https://git-lfs")) {
    throw Error(fmt::format(
        "{}: found a Git LFS pointer, expected JSON: git lfs pull fetches the file itself",
        source));
  }
  const auto fail = [&](size_t byte, std::string_view reason) {
    throw Error(
        fmt::format("{}: not valid JSON at {}: {}", source, Position(text, byte, kind), reason));
  };
  // nlohmann/json takes it for the end of the text, whatever follows.
  if (const size_t null = text.find('\0'); null != std::string_view::npos) {
    fail(null + 1, "found a null byte");
  }
  try {
    return Build(text, source);
  } catch (const Json::parse_error& error) {
    if (const std::string_view word = NonFiniteAt(text, error.byte); !word.empty()) {
      fail(error.byte, fmt::format("found {}, which JSON does not have", word));
    }
    fail(error.byte, ReasonOf(error.what()));
  }
  return {};
}

}  // namespace

Json ParseJson(std::string_view text, const std::string& source) {
  return Parse(text, source, TextKind::kFile);
}

Json ParseJsonLine(std::string_view line, const std::string& source) {
  return Parse(line, source, TextKind::kLine);
}

std::optional<Json> TryParseJson(std::string_view text, const std::string& source) {
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  try {
    return Build(text, source);
  } catch (const Json::parse_error&) {
    return std::nullopt;
  }
}

}  // namespace kvtune
