// Prompt files, which hold prompts as JSON, or one plain text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

// A prompt is either a text that is to be tokenized, or token ids that are used as they are.
struct RawPrompt {
  std::string text;
  std::vector<int32_t> token_ids;  // used when not empty
  std::string where;               // "prompts.jsonl, line 3", for messages
  bool is_document = false;        // a whole file of plain text, of any length
  // The text holds its special tokens already, so that none are put around it.
  bool has_special_tokens = false;
};

// A file named `.jsonl`, `.ndjson`, `.jsonlines` or `.json` has an object in each line, or is one
// array of objects or texts. An object has "text" or "input_ids", or the keys of a data set that is
// known, or those that `prompt_template` names in braces; other keys are ignored, but for
// "add_special_tokens" beside "text". A chat is rendered with the chat template in
// `model_directory` (chat_renderer.h). Any other file is one document. Either may be compressed by
// gzip or zstd and begin with a byte order mark.
//
// Throws Error for an empty file, for JSON under another name, for an object without a prompt,
// whose keys it names, and for a chat that cannot be rendered.
std::vector<RawPrompt> ReadPromptFile(const std::filesystem::path& path,
                                      const std::filesystem::path& model_directory,
                                      const std::string& prompt_template = "");

// Does the same with the content of a file, which need not exist: `path` gives the suffix and names
// it in messages.
std::vector<RawPrompt> ParsePrompts(std::string_view content, const std::filesystem::path& path,
                                    const std::filesystem::path& model_directory,
                                    const std::string& prompt_template = "");

}  // namespace kvtune
