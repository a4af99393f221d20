// Text to token ids and back, as a model's tokenizer.json says.
//
// Goal: the ids that Hugging Face's `tokenizers` gives, for the byte-pair encoding models that
// serve language models today. Non-goals: training, offsets, pairs of texts, other models than BPE.
// A file that asks for something else is refused by name: a wrong token is worse than none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

enum class SpecialTokens {
  kAdd,   // with what the post-processor puts around a text: a beginning-of-sequence token and the
          // like
  kOmit,  // the text alone; special tokens written out in the text still count
};

// Const methods are thread-safe. Each thread that encodes at the same time gets a word cache of its
// own (up to 4 MB), kept for the next call.
class Tokenizer {
 public:
  // Reads a tokenizer.json. Throws Error naming the file, the component and what is supported.
  static Tokenizer FromFile(const std::filesystem::path& tokenizer_json);
  // The same from memory; `source` names the text in messages.
  static Tokenizer FromJson(std::string_view json, const std::string& source);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Throws Error with the byte offset where `text` is not UTF-8, and where a character has no token
  // and the model knows no substitute.
  std::vector<int32_t> Encode(std::string_view text, SpecialTokens special_tokens) const;

  // Special tokens are written out. Ids without a token give nothing: models have more rows in
  // their embedding than their tokenizer has tokens. Always valid UTF-8.
  std::string Decode(std::span<const int32_t> ids) const;

  // Highest id + 1, added tokens included.
  int64_t vocab_size() const;
  // The same without added tokens: a model may have fewer rows in its embedding than its tokenizer
  // has added tokens that nobody uses.
  int64_t base_vocab_size() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace kvtune
