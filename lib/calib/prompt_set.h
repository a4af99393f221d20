// The prompts of a run as token ids, cut to the limits of the run and counted.
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

class Tokenizer;

// What to do with a prompt that is longer than the context of the model.
enum class LongPrompts { kRefuse, kCut };
inline constexpr Word<LongPrompts> kLongPromptWords[] = {{"refuse", LongPrompts::kRefuse},
                                                         {"cut", LongPrompts::kCut}};

// A file of plain text becomes prompts of this many tokens each, or of the model's context when
// that is shorter. They are windows side by side, and no token is in two of them. 32 windows make
// up the default of --max-tokens.
constexpr int64_t kWindowTokens = 512;

struct PromptOptions {
  std::vector<std::filesystem::path> files;  // empty for the bundled calibration set
  int64_t max_prompts = 0;                   // 0 for all
  // The most tokens of all prompts together; the last prompt is cut to fit. 0 stands for no limit.
  // With the default, a run takes minutes and not hours on a CPU.
  int64_t max_tokens = 16384;
  // A user's own prompt is refused rather than silently scored in part. Bundled prompts are always
  // cut, because the user did not choose their length.
  LongPrompts long_prompts = LongPrompts::kRefuse;
  // "Question: {question}\nAnswer: {answer}", for example: how the keys of a JSON record become a
  // prompt. Empty: "text", "input_ids" and the data sets that are known.
  std::string prompt_template = {};
};

struct PromptSet {
  std::vector<TokenIds> prompts;
  std::vector<std::string> sources;  // files as the user gave them, or "bundled"
  std::string hash;                  // hash of the token ids
  int64_t token_count = 0;
  int64_t available_count = 0;  // number of prompts from which they were chosen
};

// Sets hash and token_count from the prompts.
void CountAndHash(PromptSet& set);

// Reads a tokenizer.json. Throws Error, also when it has more ids than the model embeds.
Tokenizer LoadTokenizer(const std::filesystem::path& file, const ModelConfig& config);

// Names one of the two bundled sets, which share no prompt.
enum class BundledSet { kCalibration, kHeldOut };

// Returns the bundled prompt file of the first of DataFolders() that has it. Throws Error naming
// the places where it looked.
std::filesystem::path BundledPromptFile(BundledSet set);

// Reads the prompts, tokenizes them with the model's tokenizer.json, fits them to the model's
// context, shuffles them by `seed` and chooses from them within the limits of `options`. Throws
// Error, naming file and line, when there are no prompts or when a prompt has fewer than two
// tokens, is longer than the model's context or has an id outside the vocabulary; also when the
// tokenizer has more ids than the model embeds.
PromptSet LoadPromptSet(const PromptOptions& options, BundledSet default_set, uint64_t seed,
                        const std::filesystem::path& model_directory, const ModelConfig& config);

}  // namespace kvtune
