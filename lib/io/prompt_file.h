// Prompt files: one prompt a line of JSON, or a plain text file as one prompt.
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
};

// `.jsonl`: {"text": "..."} or {"input_ids": [...]} a line, other keys are ignored, blank lines are
// skipped. Any other file: one prompt. Throws Error for a line that has neither field (naming the
// keys that it has), for "messages" (which needs the model's chat template) and for an empty file.
std::vector<RawPrompt> ReadPromptFile(const std::filesystem::path& path);

}  // namespace kvtune
