// The options of Metaspace, which is a pre-tokenizer and a decoder.
#pragma once

#include <string>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

enum class PrependScheme {
  kAlways,  // a mark before every piece of text between added tokens
  kFirst,   // only before the piece that starts the input
  kNever,
};

struct MetaspaceOptions {
  std::string mark;  // what stands for a space, one character in UTF-8, as a rule U+2581
  PrependScheme prepend_scheme = PrependScheme::kAlways;
  bool splits = true;  // cut before every mark; off in tokenizers whose words are whole texts
};

// Throws Error. Reads the older "add_prefix_space" as tokenizers/src/pre_tokenizers/metaspace.rs
// does: false must go with prepend_scheme "never".
MetaspaceOptions ReadMetaspaceOptions(JsonFields& fields);

}  // namespace kvtune::tokenizer
