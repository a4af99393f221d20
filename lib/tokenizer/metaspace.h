// The options of Metaspace, which is both a pre-tokenizer and a decoder.
#pragma once

#include <string>

#include "lib/base/json_fields.h"

namespace kvtune::tokenizer {

enum class PrependScheme {
  kAlways,  // there is a mark before every piece of text between added tokens
  kFirst,   // there is one only before the piece that starts the input
  kNever,
};

struct MetaspaceOptions {
  std::string mark;  // one character in UTF-8 that stands for a space, usually U+2581
  PrependScheme prepend_scheme = PrependScheme::kAlways;
  bool splits = true;  // the text is cut before every mark; off where words are whole texts
};

// Throws Error for a wrong option. Reads the older "add_prefix_space" as
// tokenizers/src/pre_tokenizers/metaspace.rs does: false is allowed only with prepend_scheme
// "never".
MetaspaceOptions ReadMetaspaceOptions(JsonFields& fields);

}  // namespace kvtune::tokenizer
