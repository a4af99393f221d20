// A task made ready for one model: its prompts as token ids, and where generation ends.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/generation.h"
#include "lib/core/model_config.h"
#include "lib/core/model_options.h"
#include "lib/core/token_ids.h"
#include "lib/tasks/task.h"
#include "lib/tasks/task_file.h"

namespace kvtune {

class Tokenizer;
enum class SpecialTokens;

// The task as a user asks for it.
struct TaskOptions {
  std::filesystem::path file;  // empty: none
  TaskOverrides overrides;
  bool apply_chat_template = false;  // shots and question become the turns of a chat
};

// One choice of an item of Protocol::kMultipleChoice as a sequence to be scored.
struct ChoiceSequence {
  size_t item = 0;
  TokenIds ids;           // context and choice
  size_t scored_ids = 0;  // the last so many are the choice's own
};

class PreparedTask {
 public:
  // Reads the task, draws its shots and tokenizes its prompts as lm-evaluation-harness does: with
  // the special tokens that the tokenizer adds, unless the text begins with the BOS token already.
  // A prompt that leaves no room for what is to be generated loses its beginning, and the log says
  // so. Throws Error.
  PreparedTask(const TaskOptions& options, const std::filesystem::path& model_directory,
               const ModelConfig& config);
  ~PreparedTask();
  PreparedTask(const PreparedTask&) = delete;
  PreparedTask& operator=(const PreparedTask&) = delete;

  const Task& task() const { return task_; }
  const std::vector<std::string>& prompts() const { return prompts_; }
  // By item; empty for multiple choice.
  const std::vector<TokenIds>& ids() const { return ids_; }
  // How many tokens all prompts begin with, as far as a pass over them is worth while: few-shot
  // examples that do not change. A multiple of 64, so that it seldom depends on the items.
  int64_t shared_tokens() const { return shared_tokens_; }
  // By item and choice; empty for all other tasks.
  const std::vector<ChoiceSequence>& choices() const { return choices_; }
  // A sequence ends at one of these: the end of sequence of the tokenizer and of the model's
  // generation_config.json.
  const std::vector<int32_t>& end_tokens() const { return end_tokens_; }
  // The text of the tokenizer's end of sequence, which is a stop too.
  const std::vector<std::string>& more_stops() const { return more_stops_; }

  // The text of generated tokens, without special tokens. Thread-safe.
  std::string TextOf(std::span<const int32_t> ids) const;
  // The texts that end an answer: those of the task, and more_stops().
  const StopTexts& stops() const { return stops_; }

  // A hash of everything about the task that what a model generates depends on.
  const std::string& hash() const { return hash_; }
  // The same, with everything that a verdict depends on.
  const std::string& verdict_hash() const { return verdict_hash_; }

  // Throws Error (kUsage) where no plan would ever be read: choices are scored without decoding, so
  // that an exact prefill would leave out every quantized value.
  void RequireThatPlansAreRead(PrefillMode prefill) const;
  // Throws Error that names an item whose question stands in one of these prompts: a plan that was
  // chosen on a task's items does well on them without being good. Questions of less than 20 bytes
  // count only where they are the whole prompt.
  void RequireApartFrom(std::span<const TokenIds> prompts, const std::string& what) const;

 private:
  // Those that encoding a text has to add: none where a template has, or the text begins with one.
  SpecialTokens SpecialTokensOf(std::string_view text, bool has_special_tokens) const;
  void Encode(bool has_special_tokens);
  void CountSharedTokens();
  TokenIds PrefixToken() const;
  void EncodeChoices(bool has_special_tokens);
  void ReadEnds(const std::filesystem::path& model_directory);
  void ComputeHash();

  Task task_;
  std::unique_ptr<Tokenizer> tokenizer_;
  int64_t context_;
  std::vector<std::string> prompts_;
  std::vector<TokenIds> ids_;
  int64_t shared_tokens_ = 0;
  std::vector<ChoiceSequence> choices_;
  std::vector<int32_t> end_tokens_;
  std::vector<std::string> more_stops_;
  std::string bos_;
  std::string eos_;
  StopTexts stops_;
  std::string hash_;
  std::string verdict_hash_;
};

}  // namespace kvtune
