// Prompt files, which hold prompts as JSON, or one plain text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kvtune {

// A prompt is either a text that is to be tokenized, or token ids that are used as they are.
struct RawPrompt {
  std::string text;
  std::vector<int32_t> token_ids;  // used when not empty
  std::string where;               // "prompts.jsonl, line 3", for messages
  bool is_document = false;        // a whole file of plain text, of any length
};

// A file named `.jsonl`, `.ndjson`, `.jsonlines` or `.json` has an object in each line, or is one
// array of objects or texts. An object has "text" or "input_ids", or the keys of a data set that is
// known, or those that `prompt_template` names in braces; other keys are ignored. Any other file is
// one document. Either may be compressed by gzip and begin with a byte order mark.
//
// Throws Error for an empty file, for JSON under another name, and for an object without a prompt,
// whose keys it names. A chat is an error too, because the template that renders it is a program in
// a language of its own; the error gives the command that renders it for the model in
// `model_directory`.
std::vector<RawPrompt> ReadPromptFile(const std::filesystem::path& path,
                                      const std::filesystem::path& model_directory,
                                      const std::string& prompt_template = "");

}  // namespace kvtune
