#include "lib/run/prepared_task.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/calib/prompt_set.h"
#include "lib/io/chat_renderer.h"
#include "lib/tasks/task_prompts.h"
#include "lib/tokenizer/tokenizer.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

Json JsonOf(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) ? ReadJsonFile(path) : Json::object();
}

// The text of a special token of tokenizer_config.json: "</s>" or {"content": "</s>", ...}.
std::string TokenText(const Json& config, const char* key) {
  if (!config.is_object() || !config.contains(key)) return "";
  const Json& token = config[key];
  if (token.is_string()) return token;
  const bool has_content =
      token.is_object() && token.contains("content") && token["content"].is_string();
  return has_content ? token["content"].get<std::string>() : "";
}

void AddIds(const Json& config, std::vector<int32_t>& ids) {
  if (!config.is_object() || !config.contains("eos_token_id")) return;
  const Json& found = config["eos_token_id"];
  for (const Json& id : found.is_array() ? found : Json::array({found})) {
    if (id.is_number_integer()) ids.push_back(id.get<int32_t>());
  }
}

std::vector<std::string> RenderedChats(const Task& task, const fs::path& file,
                                       const fs::path& model_directory) {
  std::vector<Chat> chats;
  for (const std::vector<ChatTurn>& turns : TaskChats(task)) {
    Json messages = Json::array();
    for (const ChatTurn& turn : turns)
      messages.push_back({{"role", turn.role}, {"content", turn.content}});
    chats.push_back({Json({{"messages", std::move(messages)}}).dump(),
                     fmt::format("task {}, item {}", file.string(), chats.size() + 1)});
  }
  return RenderChats(chats, model_directory);
}

Task LoadedTask(const TaskOptions& options) { return LoadTask(options.file, options.overrides); }

}  // namespace

PreparedTask::PreparedTask(const TaskOptions& options, const fs::path& model_directory,
                           const ModelConfig& config)
    : task_(LoadedTask(options)),
      tokenizer_(
          std::make_unique<Tokenizer>(LoadTokenizer(model_directory / "tokenizer.json", config))),
      context_(config.max_position_embeddings) {
  ReadEnds(model_directory);
  if (options.apply_chat_template) {
    if (!task_.shot_text.empty() && task_.fewshot > 0) {
      throw Error(fmt::format("task {}: found shots as one text, expected questions and answers "
                              "with --apply-chat-template",
                              options.file.string()),
                  ExitCode::kUsage);
    }
    prompts_ = RenderedChats(task_, options.file, model_directory);
  } else {
    prompts_ = TaskPrompts(task_);
  }
  if (!task_.is_multiple_choice() && task_.max_new_tokens >= context_) {
    throw Error(fmt::format(
        "task {}: found {} new tokens at most, expected fewer than the model's context of {}",
        options.file.string(), task_.max_new_tokens, context_));
  }
  if (task_.is_multiple_choice()) {
    EncodeChoices(options.apply_chat_template);
  } else {
    Encode(options.apply_chat_template);
    CountSharedTokens();
  }
  ComputeHash();
}

PreparedTask::~PreparedTask() = default;

void PreparedTask::ReadEnds(const fs::path& model_directory) {
  const Json tokenizer_config = JsonOf(model_directory / "tokenizer_config.json");
  bos_ = TokenText(tokenizer_config, "bos_token");
  eos_ = TokenText(tokenizer_config, "eos_token");
  if (!eos_.empty()) {
    more_stops_.push_back(eos_);
    const TokenIds ids = tokenizer_->Encode(eos_, SpecialTokens::kOmit);
    if (ids.size() == 1) end_tokens_.push_back(ids.front());
  }
  const fs::path generation = model_directory / "generation_config.json";
  std::error_code ignored;
  AddIds(JsonOf(fs::exists(generation, ignored) ? generation : model_directory / "config.json"),
         end_tokens_);
  std::ranges::sort(end_tokens_);
  end_tokens_.erase(std::unique(end_tokens_.begin(), end_tokens_.end()), end_tokens_.end());
  stops_.texts = task_.stops;
  stops_.texts.insert(stops_.texts.end(), more_stops_.begin(), more_stops_.end());
  size_t longest = 0;
  for (const std::string& stop : stops_.texts) longest = std::max(longest, stop.size());
  // Every token but special ones holds at least a byte of the text, and a few more make sure that
  // what a decoder does to the first token of a text does not hide a stop.
  stops_.newest_tokens = longest + 8;
  stops_.text_of = [this](std::span<const int32_t> ids) { return tokenizer_->Decode(ids); };
}

SpecialTokens PreparedTask::SpecialTokensOf(std::string_view text, bool has_special_tokens) const {
  const bool begins = has_special_tokens || (!bos_.empty() && text.starts_with(bos_));
  return begins ? SpecialTokens::kOmit : SpecialTokens::kAdd;
}

void PreparedTask::Encode(bool has_special_tokens) {
  const auto room = static_cast<size_t>(context_ - task_.max_new_tokens);
  size_t cut = 0;
  for (const std::string& prompt : prompts_) {
    TokenIds ids = tokenizer_->Encode(prompt, SpecialTokensOf(prompt, has_special_tokens));
    if (ids.size() > room) {
      ids.erase(ids.begin(), ids.end() - static_cast<ptrdiff_t>(room));
      ++cut;
    }
    if (ids.empty()) {
      throw Error(fmt::format("task \"{}\", item {}: found a prompt without tokens, expected some",
                              task_.name, ids_.size() + 1));
    }
    ids_.push_back(std::move(ids));
  }
  if (cut > 0) {
    LogWarning(fmt::format(
        "task {}: {} of {} prompts were cut on the left, so that {} new tokens fit into the "
        "model's context of {}",
        task_.name, cut, prompts_.size(), task_.max_new_tokens, context_));
  }
}

void PreparedTask::CountSharedTokens() {
  constexpr int64_t kStep = 64;
  if (ids_.size() < 2) return;
  const TokenIds& first = ids_.front();
  size_t shared = first.size();
  for (const TokenIds& ids : ids_) {
    // The last token of a prompt is its own: generation begins with its hidden state.
    const size_t most = std::min(shared, ids.size() - 1);
    shared = static_cast<size_t>(
        std::mismatch(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(most), first.begin())
            .first -
        ids.begin());
  }
  shared_tokens_ = static_cast<int64_t>(shared) / kStep * kStep;
}

// What stands in front of a choice without a context, as in the harness: the beginning of a text,
// or its end where the tokenizer has no other. Empty where it has neither.
TokenIds PreparedTask::PrefixToken() const {
  for (const std::string& token : {bos_, eos_}) {
    const TokenIds ids = tokenizer_->Encode(token, SpecialTokens::kOmit);
    if (ids.size() == 1) return ids;
  }
  return {};
}

// The rules of lm-evaluation-harness (TemplateLM._encode_pair): spaces at the end of the context go
// to the choice, and the choice's tokens are those behind as many as the context alone has.
void PreparedTask::EncodeChoices(bool has_special_tokens) {
  for (size_t item = 0; item < task_.items.size(); ++item) {
    std::string context = prompts_[item];
    const size_t end = context.find_last_not_of(" \t\r\n") + 1;
    const std::string spaces = context.substr(end);
    context.resize(end);
    const SpecialTokens special = SpecialTokensOf(context, has_special_tokens);
    const TokenIds prefix = context.empty() ? PrefixToken() : TokenIds();
    const size_t context_ids =
        prefix.empty() ? tokenizer_->Encode(context, special).size() : prefix.size();
    // Behind a chat's template a choice has no space in front of it.
    const char* const space = has_special_tokens ? "" : " ";
    for (const std::string& choice : task_.items[item].choices) {
      TokenIds ids = tokenizer_->Encode(fmt::format("{}{}{}{}", context, spaces, space, choice),
                                        prefix.empty() ? special : SpecialTokens::kOmit);
      ids.insert(ids.begin(), prefix.begin(), prefix.end());
      if (ids.size() <= std::max<size_t>(context_ids, 1)) {
        throw Error(
            fmt::format("task \"{}\", item {}: found a choice without tokens of its own: "
                        "\"{}\", expected some",
                        task_.name, item + 1, choice));
      }
      const size_t scored = std::min(ids.size() - context_ids, ids.size() - 1);
      // The last token of a choice is read by nobody, so it needs no place in the context.
      const auto most = static_cast<size_t>(context_) + 1;
      if (scored + 1 > most) {
        throw Error(
            fmt::format("task \"{}\", item {}: found a choice of {} tokens, expected at most "
                        "the model's context of {}",
                        task_.name, item + 1, scored, context_));
      }
      if (ids.size() > most) ids.erase(ids.begin(), ids.end() - static_cast<ptrdiff_t>(most));
      choices_.push_back({item, std::move(ids), scored});
    }
  }
}

std::string PreparedTask::TextOf(std::span<const int32_t> ids) const {
  return tokenizer_->Decode(ids, SpecialTokens::kOmit);
}

void PreparedTask::ComputeHash() {
  ContentHash hash;
  const auto add_ids = [&](const TokenIds& ids) { hash.Update(std::as_bytes(std::span(ids))); };
  hash.UpdateField(fmt::format("{} {} {}", ids_.size(), choices_.size(), task_.max_new_tokens));
  for (const TokenIds& ids : ids_) {
    hash.UpdateField(std::to_string(ids.size()));
    add_ids(ids);
  }
  for (const ChoiceSequence& choice : choices_) {
    hash.UpdateField(fmt::format("{} {}", choice.ids.size(), choice.scored_ids));
    add_ids(choice.ids);
  }
  for (const std::string& stop : task_.stops) hash.UpdateField(stop);
  for (const std::string& stop : more_stops_) hash.UpdateField(stop);
  add_ids(end_tokens_);
  hash_ = hash.Digest();
  ContentHash verdicts;
  verdicts.UpdateField(hash_);
  verdicts.UpdateField(WordOf(kProtocolWords, task_.protocol));
  verdicts.UpdateField(WordOf(kReferenceRuleWords, task_.reference_rule));
  if (task_.strict) {
    verdicts.UpdateField(task_.strict->pattern);
    verdicts.UpdateField(WordOf(kWhichMatchWords, task_.strict->which));
  }
  for (const TaskItem& item : task_.items) {
    verdicts.UpdateField(item.answer);
    verdicts.UpdateField(std::to_string(item.correct_choice));
    verdicts.UpdateField(std::to_string(item.references.size()));
    for (const std::string& reference : item.references) verdicts.UpdateField(reference);
  }
  verdict_hash_ = verdicts.Digest();
}

void PreparedTask::RequireThatPlansAreRead(PrefillMode prefill) const {
  if (!task_.is_multiple_choice() || prefill != PrefillMode::kExact) return;
  throw Error(fmt::format("task \"{}\": found multiple choice with --prefill exact, expected "
                          "quantized: nothing is decoded, so that no plan would ever be read",
                          task_.name),
              ExitCode::kUsage);
}

void PreparedTask::RequireApartFrom(std::span<const TokenIds> prompts,
                                    const std::string& what) const {
  // A shorter question may stand in any text by chance.
  constexpr size_t kTellingBytes = 20;
  std::vector<std::string> texts;
  for (const TokenIds& ids : prompts) texts.push_back(TextOf(ids));
  for (size_t i = 0; i < task_.items.size(); ++i) {
    const std::string& question = task_.items[i].prompt;
    const auto holds = [&](const std::string& text) {
      return text == question ||
             (question.size() >= kTellingBytes && text.find(question) != std::string::npos);
    };
    if (std::ranges::none_of(texts, holds)) continue;
    throw Error(fmt::format(
        "task \"{}\": found its item {} among the {} prompts, expected prompts of other questions",
        task_.name, i + 1, what));
  }
}

}  // namespace kvtune
