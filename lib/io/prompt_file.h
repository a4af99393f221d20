// Prompt files, which hold one prompt in each line of JSON, or one plain text.
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

// A `.jsonl` file has {"text": "..."} or {"input_ids": [...]} in each line; other keys are ignored
// and blank lines are skipped. Any other file is one document. Throws Error for an empty file and
// for a line that has neither field, whose keys it names. A line with "messages" is an error too,
// because the template that renders them is a program in a language of its own; the error gives the
// command that renders them for the model in `model_directory`.
std::vector<RawPrompt> ReadPromptFile(const std::filesystem::path& path,
                                      const std::filesystem::path& model_directory);

}  // namespace kvtune
