#include "lib/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/tokenizer/added_vocabulary.h"
#include "lib/tokenizer/decoder.h"
#include "lib/tokenizer/model.h"
#include "lib/tokenizer/normalizer.h"
#include "lib/tokenizer/post_processor.h"
#include "lib/tokenizer/pre_tokenizer.h"
#include "lib/tokenizer/tokenizer_json.h"
#include "lib/tokenizer/unicode.h"
#include "lib/tokenizer/vocabulary.h"

namespace kvtune {

// The stages in the order of encoding. A stage that the file lacks is null.
struct Tokenizer::Parts {
  std::unique_ptr<tokenizer::Vocabulary> vocabulary;
  std::unique_ptr<tokenizer::Normalizer> normalizer;
  std::unique_ptr<tokenizer::AddedVocabulary> added_vocabulary;
  std::unique_ptr<tokenizer::PreTokenizer> pre_tokenizer;
  std::unique_ptr<tokenizer::Model> model;
  std::unique_ptr<tokenizer::PostProcessor> post_processor;
  std::unique_ptr<tokenizer::Decoder> decoder;
};

namespace {

// Returns null when the component is missing or null in the file.
template <typename Component>
std::unique_ptr<Component> MakeOptional(JsonFields& fields, std::string_view key,
                                        std::unique_ptr<Component> (*make)(JsonFields)) {
  fields.Ignore(key);
  return fields.Has(key) ? make(fields.Object(key)) : nullptr;
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::FromFile(const std::filesystem::path& tokenizer_json) {
  return FromJson(ReadFile(tokenizer_json), tokenizer_json.string());
}

Tokenizer Tokenizer::FromJson(std::string_view json, const std::string& source) {
  tokenizer::TokenizerJson file = tokenizer::ParseTokenizerJson(json, source);
  JsonFields fields(file.fields, source);
  auto parts = std::make_unique<Parts>();

  fields.Ignore("version");
  if (fields.Has("version") && fields.String("version") != "1.0") {
    fields.Fail("version", fmt::format("found \"{}\", expected \"1.0\"", fields.String("version")));
  }
  // Settings of the last batch that was encoded before the file was saved. transformers sets both
  // anew in every call, so they are no part of a text's ids.
  fields.Ignore("truncation");
  fields.Ignore("padding");

  parts->normalizer = MakeOptional(fields, "normalizer", &tokenizer::MakeNormalizer);
  parts->pre_tokenizer = MakeOptional(fields, "pre_tokenizer", &tokenizer::MakePreTokenizer);
  parts->post_processor = MakeOptional(fields, "post_processor", &tokenizer::MakePostProcessor);
  parts->decoder = MakeOptional(fields, "decoder", &tokenizer::MakeDecoder);

  JsonFields model = fields.Object("model");
  parts->vocabulary =
      std::make_unique<tokenizer::Vocabulary>(std::move(file.vocab), model.where() + ": vocab");
  parts->model = tokenizer::MakeModel(std::move(model), file.merges, *parts->vocabulary);

  std::vector<tokenizer::AddedToken> added_tokens;
  fields.Ignore("added_tokens");
  if (fields.Has("added_tokens"))
    added_tokens = tokenizer::ReadAddedTokens(fields, *parts->vocabulary);
  parts->added_vocabulary = std::make_unique<tokenizer::AddedVocabulary>(
      std::move(added_tokens), parts->normalizer.get(), source);
  fields.RequireNoOthers();
  return Tokenizer(std::move(parts));
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, SpecialTokens special_tokens) const {
  if (text.size() > INT32_MAX) {
    throw Error(
        fmt::format("tokenizing: found a text of {} bytes, expected less than 2 GiB", text.size()));
  }
  if (const std::optional<size_t> offset = tokenizer::FindInvalidUtf8(text)) {
    throw Error(fmt::format("tokenizing: found the byte 0x{:02X} at offset {}, expected UTF-8",
                            static_cast<unsigned char>(text[*offset]), *offset));
  }
  std::vector<int32_t> ids;
  for (const tokenizer::TextPart& raw : parts_->added_vocabulary->SplitRaw(text)) {
    if (raw.id != tokenizer::TextPart::kText) {
      ids.push_back(raw.id);
      continue;
    }
    tokenizer::NormalizedText normalized{std::string(text.substr(raw.begin, raw.end - raw.begin)),
                                         raw.begin == 0};
    if (parts_->normalizer != nullptr) parts_->normalizer->Normalize(normalized);
    for (const tokenizer::TextPart& part :
         parts_->added_vocabulary->SplitNormalized(normalized.text)) {
      if (part.id != tokenizer::TextPart::kText) {
        ids.push_back(part.id);
        continue;
      }
      tokenizer::WordList list{normalized.text.substr(part.begin, part.end - part.begin), {}};
      list.words.push_back({0, list.text.size(), normalized.starts_input && part.begin == 0});
      if (parts_->pre_tokenizer != nullptr) parts_->pre_tokenizer->PreTokenize(list);
      parts_->model->AppendIds(list, ids);
      if (ids.size() > tokenizer::MostOf(text.size())) {
        throw Error(
            fmt::format("tokenizing: found {} tokens in a text of {} bytes, expected at most {}",
                        ids.size(), text.size(), tokenizer::MostOf(text.size())));
      }
    }
  }
  if (parts_->post_processor == nullptr) return ids;
  return parts_->post_processor->Process(std::move(ids), special_tokens);
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, SpecialTokens special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    if (special_tokens == SpecialTokens::kOmit && parts_->added_vocabulary->IsSpecial(id)) continue;
    const std::string* token = parts_->added_vocabulary->TokenOf(id);
    if (token == nullptr) token = parts_->vocabulary->TokenOf(id);
    if (token != nullptr) tokens.push_back(*token);
  }
  if (parts_->decoder == nullptr) return fmt::format("{}", fmt::join(tokens, " "));
  parts_->decoder->Decode(tokens);
  return fmt::format("{}", fmt::join(tokens, ""));
}

int64_t Tokenizer::base_vocab_size() const { return parts_->vocabulary->id_end(); }

int64_t Tokenizer::vocab_size() const {
  return std::max(parts_->vocabulary->id_end(), parts_->added_vocabulary->id_end());
}

}  // namespace kvtune
