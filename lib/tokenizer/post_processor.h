// The fourth stage of a tokenizer: puts special tokens around the ids of a text.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/tokenizer/tokenizer.h"

namespace kvtune::tokenizer {

class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  // It is const and thread-safe.
  virtual std::vector<int32_t> Process(std::vector<int32_t> ids,
                                       SpecialTokens special_tokens) const = 0;
};

// Builds the post-processor that `fields` describes. Throws Error, which names the type or option,
// when one is unknown.
std::unique_ptr<PostProcessor> MakePostProcessor(JsonFields fields);

}  // namespace kvtune::tokenizer
