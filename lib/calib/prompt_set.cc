#include "lib/calib/prompt_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "lib/base/data_folder.h"
#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/tokenizer/tokenizer.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// Cuts the prompt to the model's context where that is asked for, and refuses what cannot be
// scored. Returns whether it was cut.
bool FitPrompt(TokenIds& ids, const std::string& where, const ModelConfig& config,
               LongPrompts long_prompts) {
  const auto count = static_cast<int64_t>(ids.size());
  const bool too_long = count > config.max_position_embeddings;
  if (count < 2) {
    throw Error(fmt::format(
        "{}: found a prompt of {} tokens, expected at least 2 to have a next token", where, count));
  }
  if (too_long && long_prompts == LongPrompts::kRefuse) {
    throw Error(
        fmt::format("{}: found a prompt of {} tokens, expected at most the model's context of {} "
                    "(--long-prompts cut keeps its beginning)",
                    where, count, config.max_position_embeddings));
  }
  if (too_long) ids.resize(static_cast<size_t>(config.max_position_embeddings));
  for (const int32_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      throw Error(
          fmt::format("{}: found the token id {}, expected 0 to {} as in the model's vocabulary",
                      where, id, config.vocab_size - 1));
    }
  }
  return too_long;
}

// Cuts a text into windows of at most `size` tokens. The tokens that the tokenizer puts around a
// text are put around every window. A remainder that is too short to have a next token is left out,
// unless it is the whole text.
std::vector<TokenIds> Windows(const Tokenizer& tokenizer, const std::string& text, int64_t size) {
  TokenIds whole = tokenizer.Encode(text, SpecialTokens::kAdd);
  if (static_cast<int64_t>(whole.size()) <= size) return {std::move(whole)};
  const TokenIds inner = tokenizer.Encode(text, SpecialTokens::kOmit);
  const auto begin = std::ranges::search(whole, inner).begin();
  const TokenIds before(whole.begin(), begin);
  const TokenIds behind(begin + static_cast<ptrdiff_t>(inner.size()), whole.end());
  const auto special_count = static_cast<int64_t>(before.size() + behind.size());
  const auto step = static_cast<size_t>(std::max<int64_t>(size - special_count, 1));
  std::vector<TokenIds> windows;
  for (size_t start = 0; start < inner.size(); start += step) {
    const auto first = inner.begin() + static_cast<ptrdiff_t>(start);
    TokenIds window = before;
    window.insert(window.end(), first,
                  first + static_cast<ptrdiff_t>(std::min(step, inner.size() - start)));
    window.insert(window.end(), behind.begin(), behind.end());
    if (window.size() >= 2) windows.push_back(std::move(window));
  }
  return windows;
}

// Returns the chosen prompts in the order of the shuffle. The last one is cut where the token
// budget ends.
std::vector<TokenIds> Choose(std::vector<TokenIds> all, const PromptOptions& options,
                             uint64_t seed) {
  Random random(DeriveSeed(seed, SeedPurpose::kPromptShuffle));
  random.Shuffle(std::span(all));
  std::vector<TokenIds> chosen;
  int64_t tokens = 0;
  for (TokenIds& ids : all) {
    if (options.max_prompts > 0 && static_cast<int64_t>(chosen.size()) == options.max_prompts)
      break;
    if (options.max_tokens > 0) {
      const int64_t room = options.max_tokens - tokens;
      if (room < 2) break;
      if (static_cast<int64_t>(ids.size()) > room) ids.resize(static_cast<size_t>(room));
    }
    tokens += static_cast<int64_t>(ids.size());
    chosen.push_back(std::move(ids));
  }
  return chosen;
}

}  // namespace

Tokenizer LoadTokenizer(const fs::path& file, const ModelConfig& config) {
  Tokenizer tokenizer = Tokenizer::FromFile(file);
  if (tokenizer.base_vocab_size() > config.vocab_size) {
    throw Error(
        fmt::format("reading {}: found a vocabulary of {} tokens, expected at most the {} that "
                    "the model's embedding has",
                    file.string(), tokenizer.base_vocab_size(), config.vocab_size));
  }
  return tokenizer;
}

void CountAndHash(PromptSet& set) {
  ContentHash hash;
  set.token_count = 0;
  for (const TokenIds& ids : set.prompts) {
    set.token_count += static_cast<int64_t>(ids.size());
    const std::span<const std::byte> bytes = std::as_bytes(std::span(ids));
    hash.UpdateField({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  set.hash = hash.Digest();
}

fs::path BundledPromptFile(BundledSet set) {
  const char* name = set == BundledSet::kCalibration ? "calibration.jsonl" : "held_out.jsonl";
  for (const fs::path& folder : DataFolders()) {
    if (fs::exists(folder / name)) return folder / name;
  }
  throw Error(fmt::format(
      "looking for the bundled prompts {}: found none in {}, expected it there; --prompts FILE "
      "uses others",
      name, DescribeDataFolders()));
}

PromptSet LoadPromptSet(const PromptOptions& options, BundledSet default_set, uint64_t seed,
                        const fs::path& model_directory, const ModelConfig& config) {
  PromptSet set;
  std::vector<fs::path> files = options.files;
  if (files.empty()) {
    files.push_back(BundledPromptFile(default_set));
    set.sources.emplace_back("bundled");
  } else {
    for (const fs::path& file : files) set.sources.push_back(file.string());
  }

  const LongPrompts long_prompts = options.files.empty() ? LongPrompts::kCut : options.long_prompts;
  int64_t cut = 0;
  // The tokenizer is loaded only when it is needed: prompts that are already token ids need none.
  std::optional<Tokenizer> tokenizer;
  std::vector<TokenIds> all;
  for (const fs::path& file : files) {
    for (RawPrompt& raw :
         ReadPromptFile(file, model_directory,
                        options.files.empty() ? std::string() : options.prompt_template)) {
      std::vector<TokenIds> prompts;
      if (!raw.token_ids.empty()) {
        prompts.push_back(std::move(raw.token_ids));
      } else {
        if (!tokenizer)
          tokenizer.emplace(LoadTokenizer(model_directory / "tokenizer.json", config));
        try {
          prompts = raw.is_document
                        ? Windows(*tokenizer, raw.text,
                                  std::min(kWindowTokens, config.max_position_embeddings))
                        : std::vector<TokenIds>{tokenizer->Encode(
                              raw.text,
                              raw.has_special_tokens ? SpecialTokens::kOmit : SpecialTokens::kAdd)};
        } catch (const Error& error) {
          throw Error(fmt::format("{}: {}", raw.where, error.what()), error.exit_code());
        }
      }
      for (TokenIds& ids : prompts) {
        cut += FitPrompt(ids, raw.where, config, long_prompts) ? 1 : 0;
        all.push_back(std::move(ids));
      }
    }
  }
  set.available_count = static_cast<int64_t>(all.size());
  set.prompts = Choose(std::move(all), options, seed);
  if (set.prompts.empty()) {
    throw Error(fmt::format(
        "choosing prompts: found room for none with --max-prompts {} and --max-tokens {}, expected "
        "at least 1 prompt of 2 tokens",
        options.max_prompts, options.max_tokens));
  }
  CountAndHash(set);
  if (cut > 0) {
    LogInfo(
        fmt::format("{} of {} prompts are longer than the model's context: cut to its {} tokens",
                    cut, set.available_count, config.max_position_embeddings));
  }
  return set;
}

}  // namespace kvtune
