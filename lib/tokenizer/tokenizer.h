// Turns text into token ids and back, as a model's tokenizer.json says.
//
// The goal is to give the ids that Hugging Face's `tokenizers` gives, for the byte-pair encodings
// that language models use today. Training, offsets, pairs of texts and models other than BPE are
// not goals. A file that asks for something else is refused, and the refusal names it, because a
// wrong token is worse than none.
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
  kAdd,   // adds what the post-processor puts around a text, such as a beginning-of-sequence token
  kOmit,  // encodes or decodes the text alone; special tokens written out in a text still count
};

// Const methods are thread-safe. Each of the threads that encode at the same time gets a word cache
// of its own (up to 4 MB), which is kept for the next call.
class Tokenizer {
 public:
  // Reads a tokenizer.json. Throws Error, which names the file, the component and what is
  // supported.
  static Tokenizer FromFile(const std::filesystem::path& tokenizer_json);
  // Does the same with a text in memory, which messages call `source`.
  static Tokenizer FromJson(std::string_view json, const std::string& source);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Throws Error when `text` is not UTF-8, with the offset of the byte, and when a character has no
  // token and the model has no substitute.
  std::vector<int32_t> Encode(std::string_view text, SpecialTokens special_tokens) const;

  // Special tokens are written out, or left out with kOmit. An id without a token gives no text,
  // because models have more rows in their embedding than their tokenizer has tokens. The result is
  // always valid UTF-8.
  std::string Decode(std::span<const int32_t> ids,
                     SpecialTokens special_tokens = SpecialTokens::kAdd) const;

  // The highest id + 1, with added tokens.
  int64_t vocab_size() const;
  // The highest id + 1 without added tokens. A model may have too few rows in its embedding for
  // added tokens that nobody uses.
  int64_t base_vocab_size() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<Parts> parts);

  std::unique_ptr<Parts> parts_;
};

}  // namespace kvtune
