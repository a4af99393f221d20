// The third stage of a tokenizer: turns words into token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/tokenizer/merge_table.h"
#include "lib/tokenizer/pre_tokenizer.h"
#include "lib/tokenizer/vocabulary.h"

namespace kvtune::tokenizer {

class Model {
 public:
  virtual ~Model() = default;
  // Appends the ids of every word. It is const and thread-safe. A character that has no token is
  // left out, and the log says so, when the model has no token for unknown characters.
  virtual void AppendIds(const WordList& list, std::vector<int32_t>& ids) const = 0;
};

// Builds the model that `fields` and `merges` describe. `vocabulary` must outlive it. Throws Error
// for a type or option that kvtune does not have.
std::unique_ptr<Model> MakeModel(JsonFields fields, const std::vector<MergeRule>& merges,
                                 const Vocabulary& vocabulary);

}  // namespace kvtune::tokenizer
