#include "lib/tokenizer/post_processor.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/tokenizer/component_json.h"

// The behaviour follows `tokenizers` 0.23 (tokenizers/src/processors/*.rs) for single texts. The
// "pair" templates are not used, because they serve tasks that compare two texts.

namespace kvtune::tokenizer {
namespace {

class Sequence : public PostProcessor {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PostProcessor>> steps) : steps_(std::move(steps)) {}
  std::vector<int32_t> Process(std::vector<int32_t> ids,
                               SpecialTokens special_tokens) const override {
    for (const auto& step : steps_) ids = step->Process(std::move(ids), special_tokens);
    return ids;
  }

 private:
  std::vector<std::unique_ptr<PostProcessor>> steps_;
};

// It moves offsets only, which kvtune does not have.
class ByteLevel : public PostProcessor {
 public:
  std::vector<int32_t> Process(std::vector<int32_t> ids, SpecialTokens) const override {
    return ids;
  }
};

class Template : public PostProcessor {
 public:
  struct Piece {
    bool is_text;  // the ids of the text go here
    std::vector<int32_t> special_ids;
  };
  explicit Template(std::vector<Piece> pieces) : pieces_(std::move(pieces)) {}

  std::vector<int32_t> Process(std::vector<int32_t> ids,
                               SpecialTokens special_tokens) const override {
    std::vector<int32_t> result;
    result.reserve(ids.size() + pieces_.size());
    for (const Piece& piece : pieces_) {
      if (piece.is_text) {
        result.insert(result.end(), ids.begin(), ids.end());
      } else if (special_tokens == SpecialTokens::kAdd) {
        result.insert(result.end(), piece.special_ids.begin(), piece.special_ids.end());
      }
    }
    return result;
  }

 private:
  std::vector<Piece> pieces_;
};

std::map<std::string, std::vector<int32_t>> ReadSpecialTokens(JsonFields fields) {
  std::map<std::string, std::vector<int32_t>> special_tokens;
  for (const std::string& name : fields.Keys()) {
    JsonFields token = fields.Object(name);
    std::vector<int32_t>& ids = special_tokens[name];
    for (const int64_t id : token.Integers("ids")) {
      if (id < 0 || id > INT32_MAX)
        token.Fail("ids", fmt::format("found {}, expected a token id", id));
      ids.push_back(static_cast<int32_t>(id));
    }
    token.Ignore("id");
    token.Ignore("tokens");
    token.RequireNoOthers();
  }
  return special_tokens;
}

// Far above any template in use. Without a limit a file can name one list of ids many times.
constexpr size_t kMostSpecialIds = 4096;

// What a template asks for more than once would grow with every step of a sequence.
void RequireModest(const JsonFields& fields, const std::vector<Template::Piece>& pieces) {
  size_t texts = 0, special_ids = 0;
  for (const Template::Piece& piece : pieces) {
    texts += piece.is_text ? 1 : 0;
    special_ids += piece.special_ids.size();
  }
  if (texts > 1)
    fields.Fail("single", fmt::format("found the text {} times, expected it once", texts));
  if (special_ids > kMostSpecialIds) {
    fields.Fail("single",
                fmt::format("found more than {} special tokens, expected a few", kMostSpecialIds));
  }
}

std::unique_ptr<PostProcessor> MakeTemplate(JsonFields& fields) {
  const auto special_tokens = ReadSpecialTokens(fields.Object("special_tokens"));
  fields.Ignore("pair");
  std::vector<Template::Piece> pieces;
  for (JsonFields& piece : fields.Objects("single")) {
    if (piece.Has("Sequence")) {
      JsonFields sequence = piece.Object("Sequence");
      const std::string id = sequence.String("id");
      if (id != "A")
        sequence.Fail("id",
                      fmt::format("found \"{}\", expected \"A\": \"single\" has one text", id));
      pieces.push_back({true, {}});
    } else {
      JsonFields special = piece.Object("SpecialToken");
      const std::string id = special.String("id");
      const auto found = special_tokens.find(id);
      if (found == special_tokens.end()) {
        special.Fail("id", fmt::format("found \"{}\", expected a key of \"special_tokens\"", id));
      }
      pieces.push_back({false, found->second});
    }
    piece.RequireNoOthers();
    RequireModest(fields, pieces);
  }
  return std::make_unique<Template>(std::move(pieces));
}

// Reads an array like ["<s>", 0], which is a token and its id.
std::vector<int32_t> ReadTokenAndId(JsonFields& fields, std::string_view key) {
  const Json& pair = fields.Value(key);
  if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() ||
      !pair[1].is_number_unsigned() || pair[1] > INT32_MAX) {
    fields.Fail(key, fmt::format("found {}, expected a token and its id", pair.dump()));
  }
  return {pair[1].get<int32_t>()};
}

// RobertaProcessing differs from it only in offsets.
std::unique_ptr<PostProcessor> MakeBertProcessing(JsonFields& fields) {
  for (const char* option : {"trim_offsets", "add_prefix_space"}) fields.Ignore(option);
  const std::vector<int32_t> first = ReadTokenAndId(fields, "cls"),
                             last = ReadTokenAndId(fields, "sep");
  return std::make_unique<Template>(
      std::vector<Template::Piece>{{false, first}, {true, {}}, {false, last}});
}

std::unique_ptr<PostProcessor> MakeByType(const std::string& type, JsonFields& fields) {
  if (type == "TemplateProcessing") return MakeTemplate(fields);
  if (type == "BertProcessing" || type == "RobertaProcessing") return MakeBertProcessing(fields);
  if (type == "ByteLevel") {
    for (const char* option : {"add_prefix_space", "trim_offsets", "use_regex"})
      fields.Ignore(option);
    return std::make_unique<ByteLevel>();
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PostProcessor>> steps;
    for (JsonFields& step : fields.Objects("processors"))
      steps.push_back(MakePostProcessor(std::move(step)));
    return std::make_unique<Sequence>(std::move(steps));
  }
  FailUnknownType(
      fields, type,
      {"BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"});
}

}  // namespace

std::unique_ptr<PostProcessor> MakePostProcessor(JsonFields fields) {
  const std::string type = fields.String("type");
  std::unique_ptr<PostProcessor> post_processor = MakeByType(type, fields);
  fields.RequireNoOthers();
  return post_processor;
}

}  // namespace kvtune::tokenizer
