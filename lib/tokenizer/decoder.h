// The way back: turns the texts of tokens into the text that they stand for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Rewrites the token texts in place; their concatenation is the result. Const and thread-safe.
  virtual void Decode(std::vector<std::string>& tokens) const = 0;
};

// Builds the decoder that `fields` describes. Throws Error naming an unknown type or option.
std::unique_ptr<Decoder> MakeDecoder(JsonFields fields);

}  // namespace kvtune::tokenizer
