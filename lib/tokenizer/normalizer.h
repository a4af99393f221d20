// The first stage of a tokenizer: rewrites a text before it is cut up.
#pragma once

#include <memory>
#include <string>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

struct NormalizedText {
  std::string text;
  // Whether the first character of `text` came from the first character of the whole input.
  // Metaspace with prepend_scheme "first" needs to know this. Stripping leading characters makes it
  // false.
  bool starts_input = false;
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Rewrites `text` in place. It is const and thread-safe. REQUIRES: valid UTF-8.
  virtual void Normalize(NormalizedText& text) const = 0;
};

// Builds the normalizer that `fields` describes. Throws Error, which names the type or option, when
// one is unknown.
std::unique_ptr<Normalizer> MakeNormalizer(JsonFields fields);

}  // namespace kvtune::tokenizer
