// The prompts of a run as token ids, cut and counted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/words.h"
#include "lib/core/measured_model.h"
#include "lib/core/model_config.h"
#include "lib/io/prompt_file.h"

namespace kvtune {

// What to do with a prompt that is longer than the model's context.
enum class LongPrompts { kRefuse, kCut };
inline constexpr Word<LongPrompts> kLongPromptWords[] = {{"refuse", LongPrompts::kRefuse},
                                                         {"cut", LongPrompts::kCut}};

// A file of plain text becomes prompts of so many tokens each, or of the model's context where that
// is shorter: windows side by side, no token in two of them. 32 windows are the default
// --max-tokens.
constexpr int64_t kWindowTokens = 512;

struct PromptOptions {
  std::vector<std::filesystem::path> files;  // empty: the bundled calibration set
  int64_t max_prompts = 0;                   // 0: all
  // In all; the last prompt is cut to fit. 0: no limit. Minutes, not hours, on a CPU.
  int64_t max_tokens = 16384;
  // A user's own prompt is refused rather than silently scored in part. Bundled prompts are always
  // cut: the user did not choose their length.
  LongPrompts long_prompts = LongPrompts::kRefuse;
  // "Question: {question}\nAnswer: {answer}", for example: how the keys of a JSON record become a
  // prompt. Empty: "text", "input_ids" and the data sets that are known.
  std::string prompt_template = {};
};

struct PromptSet {
  std::vector<TokenIds> prompts;
  std::vector<std::string> sources;  // files as given, or "bundled"
  std::string hash;                  // of the ids
  int64_t token_count = 0;
  int64_t available_count = 0;  // prompts that they were chosen from
};

// Sets hash and token_count from the prompts.
void CountAndHash(PromptSet& set);

// Which of the two bundled sets: they share no prompt.
enum class BundledSet { kCalibration, kHeldOut };

// The bundled prompt file: $KVTUNE_DATA_DIR, else beside the installed program, else the source
// tree. Throws Error naming the places that were looked at.
std::filesystem::path BundledPromptFile(BundledSet set);

// Reads, tokenizes with the model's tokenizer.json, shuffles by seed and cuts.
// Throws Error: no prompts, a prompt under two tokens, longer than the model's context or with an
// id outside the vocabulary, naming file and line; a tokenizer with more ids than the model embeds.
// `seed`: of the shuffle before prompts are chosen.
PromptSet LoadPromptSet(const PromptOptions& options, BundledSet default_set, uint64_t seed,
                        const std::filesystem::path& model_directory, const ModelConfig& config);

}  // namespace kvtune
