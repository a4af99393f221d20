#include "lib/tokenizer/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "lib/base/error.h"
#include "lib/base/json_depth.h"

namespace kvtune::tokenizer {
namespace {

// Splits "a b", as files before `tokenizers` 0.20 write a rule. Tokens in such files hold no
// spaces.
MergeRule SplitMergeRule(const std::string& text, size_t index, const std::string& source) {
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
    throw Error(fmt::format(
        "{}: model: merges[{}]: found \"{}\", expected two tokens with one space between them",
        source, index, text));
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

// Builds a TokenizerJson from parse events. `open_` holds the containers around the current value.
class EventHandler : public nlohmann::json_sax<Json> {
 public:
  explicit EventHandler(std::string_view text, TokenizerJson& result)
      : text_(text), result_(result) {}

  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_float(double value, const string_t&) override { return Put(value); }
  bool binary(binary_t&) override { return false; }  // JSON text has no binary values

  bool number_integer(int64_t value) override {
    if (place_ != Place::kVocab) return Put(value);
    result_.vocab.emplace_back(std::move(key_), value);
    return true;
  }
  bool number_unsigned(uint64_t value) override {
    if (place_ != Place::kVocab) return Put(value);
    result_.vocab.emplace_back(std::move(key_),
                               static_cast<int64_t>(std::min<uint64_t>(value, INT64_MAX)));
    return true;
  }
  bool string(string_t& value) override {
    if (place_ == Place::kMerges) {
      if (!value.starts_with("#version")) {
        result_.merges.push_back(SplitMergeRule(value, result_.merges.size(), result_.source));
      }
      return true;
    }
    if (place_ == Place::kMergePair) {
      merge_pair_.push_back(std::move(value));
      return true;
    }
    return Put(std::move(value));
  }

  bool key(string_t& value) override {
    key_ = std::move(value);
    if (place_ != Place::kVocab && !keys_.back().insert(key_).second) {
      throw Error(fmt::format("{}: found the key \"{}\" twice in one object, expected it once",
                              result_.source, key_));
    }
    return true;
  }

  bool start_object(size_t) override {
    if (!IsModelField("vocab")) {
      keys_.emplace_back();
      return Open(Json::object());
    }
    Put(Json::object());
    place_ = Place::kVocab;
    return true;
  }
  bool end_object() override {
    if (place_ == Place::kVocab) {
      place_ = Place::kElsewhere;
      return true;
    }
    keys_.pop_back();
    return Close();
  }
  bool start_array(size_t) override {
    if (place_ == Place::kMerges) {
      place_ = Place::kMergePair;
      merge_pair_.clear();
      return true;
    }
    if (!IsModelField("merges")) return Open(Json::array());
    Put(Json::array());
    place_ = Place::kMerges;
    return true;
  }
  bool end_array() override {
    if (place_ == Place::kMergePair) {
      if (merge_pair_.size() != 2) FailInMerges();
      result_.merges.push_back({std::move(merge_pair_[0]), std::move(merge_pair_[1])});
      place_ = Place::kMerges;
      return true;
    }
    if (place_ == Place::kMerges) {
      place_ = Place::kElsewhere;
      return true;
    }
    return Close();
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    const std::string_view before = text_.substr(0, std::min(position, text_.size()));
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const size_t column = before.size() - (before.rfind('\n') + 1);  // npos + 1 is 0
    std::string_view reason = error.what();
    if (const size_t colon = reason.find(": "); colon != std::string_view::npos)
      reason.remove_prefix(colon + 2);
    throw Error(fmt::format("{}: not valid JSON at line {}, column {}: {}", result_.source, line,
                            column, reason));
  }

 private:
  enum class Place { kElsewhere, kVocab, kMerges, kMergePair };

  bool IsModelField(std::string_view name) const {
    return place_ == Place::kElsewhere && open_.size() == 2 && is_in_model_ && key_ == name;
  }

  [[noreturn]] void FailInMerges() const {
    throw Error(fmt::format("{}: model: merges[{}]: found something else, expected two tokens",
                            result_.source, result_.merges.size()));
  }

  Json* Insert(Json value) {
    if (place_ == Place::kVocab) {
      throw Error(fmt::format("{}: model: vocab: \"{}\": found {}, expected an integer",
                              result_.source, key_, value.dump()));
    }
    if (place_ != Place::kElsewhere) FailInMerges();
    if (open_.empty()) {
      result_.fields = std::move(value);
      return &result_.fields;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    // Of std::vector: the object's own functions would search all keys.
    auto& object = parent.get_ref<Json::object_t&>();
    object.emplace_back(key_, std::move(value));
    return &object.back().second;
  }

  bool Put(Json value) {
    Insert(std::move(value));
    return true;
  }

  bool Open(Json container) {
    if (open_.size() > size_t{kDeepestJson}) {
      throw Error(fmt::format("{}: found values nested more than {} deep, expected at most that",
                              result_.source, kDeepestJson));
    }
    if (open_.size() == 1) is_in_model_ = key_ == "model";
    open_.push_back(Insert(std::move(container)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  TokenizerJson& result_;
  std::vector<Json*> open_;
  std::vector<std::unordered_set<std::string>> keys_;  // of the open objects but the vocabulary
  bool is_in_model_ = false;
  std::string key_;
  Place place_ = Place::kElsewhere;
  std::vector<std::string> merge_pair_;
};

}  // namespace

TokenizerJson ParseTokenizerJson(std::string_view text, const std::string& source) {
  if (text.starts_with("version https://git-lfs")) {
    throw Error(fmt::format(
        "{}: found a Git LFS pointer, expected JSON: git lfs pull fetches the file itself",
        source));
  }
  // nlohmann/json takes it for the end of the text, whatever follows.
  if (text.find('\0') != std::string_view::npos) {
    throw Error(fmt::format("{}: not valid JSON: found a null byte", source));
  }
  TokenizerJson result;
  result.source = source;
  EventHandler handler(text, result);
  Json::sax_parse(text, &handler);
  return result;
}

}  // namespace kvtune::tokenizer
