// The last stage of a tokenizer: turns the texts of tokens back into the text that they stand for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Rewrites the texts of the tokens in place, so that their concatenation is the result. It is
  // const and thread-safe.
  virtual void Decode(std::vector<std::string>& tokens) const = 0;
};

// Builds the decoder that `fields` describes. Throws Error, which names the type or option, when
// one is unknown.
std::unique_ptr<Decoder> MakeDecoder(JsonFields fields);

}  // namespace kvtune::tokenizer
