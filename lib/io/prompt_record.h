// One prompt as JSON: a text, token ids, or a record of a well-known data set.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "lib/base/json_fields.h"
#include "lib/io/prompt_file.h"

namespace kvtune {

class PromptRecords {
 public:
  // An empty `prompt_template` reads the keys that are known.
  PromptRecords(std::filesystem::path file, std::string prompt_template);

  bool has_template() const { return !template_.empty(); }

  // Throws Error, which begins with `where`.
  RawPrompt Read(const Json& json, const std::string& where);

 private:
  std::string Fill(const Json& json, const std::string& where) const;
  // Returns whether the record is one of a known data set, whose text it puts in `text`. The log
  // says so once.
  bool ReadKnownShape(const Json& json, const std::string& where, std::string& text);

  std::filesystem::path file_;
  std::string template_;
  std::string said_;  // the data set that the log named last
};

}  // namespace kvtune
