// The first stage of a tokenizer: rewrites a text before it is cut up.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

// The most that a stage may make of a text or of its ids. No tokenizer comes near it, but a file
// can ask for a text that doubles in each of a hundred steps.
constexpr size_t MostOf(size_t size) { return 4096 + 64 * size; }

struct NormalizedText {
  std::string text;
  // Whether the first character of `text` came from the first character of the whole input.
  // Metaspace with prepend_scheme "first" needs to know this. Stripping leading characters makes it
  // false.
  bool starts_input = false;
  size_t most_bytes = MostOf(text.size());
};

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Rewrites `text` in place. Throws Error when it would become longer than most_bytes. It is const
  // and thread-safe. REQUIRES: valid UTF-8.
  virtual void Normalize(NormalizedText& text) const = 0;
};

// Builds the normalizer that `fields` describes. Throws Error, which names the type or option, when
// one is unknown.
std::unique_ptr<Normalizer> MakeNormalizer(JsonFields fields);

}  // namespace kvtune::tokenizer
