// Reads a tokenizer.json file.
//
// The vocabulary and the merge rules hold hundreds of thousands of entries. They go straight into
// vectors, because the ordered objects of lib/base/json_fields.h find a key by a linear scan, which
// would take minutes here. All other fields are small and become Json as everywhere else.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/tokenizer/merge_table.h"

namespace kvtune::tokenizer {

struct TokenizerJson {
  std::string source;  // names the file in messages
  Json fields;         // model.vocab and model.merges are empty if their entries are below
  std::vector<std::pair<std::string, int64_t>> vocab;  // model.vocab, in file order
  std::vector<MergeRule> merges;  // model.merges; the index is the rank, and 0 goes first
};

// Throws Error, which gives line and column, when `text` is not JSON. A model.vocab that is an
// array, as in Unigram models, stays in `fields`, since the type of such a model is refused later,
// by its name.
TokenizerJson ParseTokenizerJson(std::string_view text, const std::string& source);

}  // namespace kvtune::tokenizer
