#include "lib/tokenizer/metaspace.h"

#include <fmt/format.h>

#include "lib/tokenizer/component_json.h"
#include "lib/tokenizer/unicode.h"

namespace kvtune::tokenizer {
namespace {

PrependScheme ReadPrependScheme(JsonFields& fields) {
  fields.Ignore("prepend_scheme");
  if (!fields.Has("prepend_scheme")) return PrependScheme::kAlways;
  const std::string scheme = fields.String("prepend_scheme");
  if (scheme == "always") return PrependScheme::kAlways;
  if (scheme == "first") return PrependScheme::kFirst;
  if (scheme == "never") return PrependScheme::kNever;
  fields.Fail("prepend_scheme",
              fmt::format("found \"{}\", expected one of always, first, never", scheme));
}

}  // namespace

MetaspaceOptions ReadMetaspaceOptions(JsonFields& fields) {
  MetaspaceOptions options;
  AppendUtf8(Character(fields, "replacement"), options.mark);
  options.prepend_scheme = ReadPrependScheme(fields);
  options.splits = BoolOr(fields, "split", true);
  fields.Ignore("str_rep");  // a copy of "replacement" that old versions wrote
  if (!BoolOr(fields, "add_prefix_space", true) &&
      options.prepend_scheme != PrependScheme::kNever) {
    fields.Fail("add_prefix_space", "found false, expected it to go with prepend_scheme \"never\"");
  }
  return options;
}

}  // namespace kvtune::tokenizer
