// Prompt files: one prompt a line of JSON, or plain text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kvtune {

// Either text, to be tokenized, or token ids as they are.
struct RawPrompt {
  std::string text;
  std::vector<int32_t> token_ids;  // used when not empty
  std::string where;               // "prompts.jsonl, line 3", for messages
  bool is_document = false;        // a whole file of plain text, of any length
};

// `.jsonl`: {"text": "..."} or {"input_ids": [...]} a line, other keys are ignored, blank lines are
// skipped. Any other file: one document. Throws Error for a line that has neither field (naming the
// keys that it has), for an empty file, and for "messages", whose template is a program in a
// language of its own: the message is the command that renders them for the model in
// `model_directory`.
std::vector<RawPrompt> ReadPromptFile(const std::filesystem::path& path,
                                      const std::filesystem::path& model_directory);

}  // namespace kvtune
