#include "lib/calib/prompt_set.h"

#include <fmt/format.h>

#include <cstdlib>
#include <numeric>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"
#include "lib/tokenizer/tokenizer.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kShufflePurpose = 1;  // of DeriveSeed

void CheckPrompt(const TokenIds& ids, const std::string& where, const ModelConfig& config) {
  const auto count = static_cast<int64_t>(ids.size());
  if (count < 2) {
    throw Error(fmt::format("{}: found a prompt of {} tokens, expected at least 2 to have a next token", where, count));
  }
  if (count > config.max_position_embeddings) {
    throw Error(fmt::format("{}: found a prompt of {} tokens, expected at most the model's context of {}", where,
                            count, config.max_position_embeddings));
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      throw Error(fmt::format("{}: found the token id {}, expected 0 to {} as in the model's vocabulary", where, id,
                              config.vocab_size - 1));
    }
  }
}

std::string HashOfIds(const std::vector<TokenIds>& prompts) {
  ContentHash hash;
  for (const TokenIds& ids : prompts) {
    const uint64_t count = ids.size();
    hash.Update(std::as_bytes(std::span(&count, 1)));
    hash.Update(std::as_bytes(std::span(ids)));
  }
  return hash.Digest();
}

// The chosen prompts in the order of the shuffle, the last one cut where the token budget ends.
std::vector<TokenIds> Choose(std::vector<TokenIds> all, const PromptOptions& options) {
  Random random(DeriveSeed(options.seed, kShufflePurpose));
  random.Shuffle(std::span(all));
  std::vector<TokenIds> chosen;
  int64_t tokens = 0;
  for (TokenIds& ids : all) {
    if (options.max_prompts > 0 && static_cast<int64_t>(chosen.size()) == options.max_prompts) break;
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

fs::path BundledPromptFile(BundledSet set) {
  const char* name = set == BundledSet::kCalibration ? "calibration.jsonl" : "held_out.jsonl";
  std::vector<fs::path> places;
  if (const char* directory = std::getenv("KVTUNE_DATA_DIR")) places.emplace_back(directory);
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  if (!ignored) places.push_back(program.parent_path().parent_path() / "share" / "kvtune" / "calib_data");
  places.emplace_back(KVTUNE_SOURCE_DATA_DIR);
  std::string looked_at;
  for (const fs::path& place : places) {
    if (fs::exists(place / name)) return place / name;
    looked_at += (looked_at.empty() ? "" : ", ") + place.string();
  }
  throw Error(fmt::format("looking for the bundled prompts {}: found none in {}, expected it in one; --prompts FILE "
                          "uses others", name, looked_at));
}

PromptSet LoadPromptSet(const PromptOptions& options, BundledSet default_set, const fs::path& model_directory,
                        const ModelConfig& config) {
  PromptSet set;
  std::vector<fs::path> files = options.files;
  if (files.empty()) {
    files.push_back(BundledPromptFile(default_set));
    set.sources.emplace_back("bundled");
  } else {
    for (const fs::path& file : files) set.sources.push_back(file.string());
  }

  // Prompts that are token ids already need no tokenizer.
  std::optional<Tokenizer> tokenizer;
  std::vector<TokenIds> all;
  for (const fs::path& file : files) {
    for (RawPrompt& raw : ReadPromptFile(file)) {
      if (raw.token_ids.empty()) {
        if (!tokenizer) tokenizer.emplace(Tokenizer::FromFile(model_directory / "tokenizer.json"));
        try {
          raw.token_ids = tokenizer->Encode(raw.text, SpecialTokens::kAdd);
        } catch (const Error& error) {
          throw Error(fmt::format("{}: {}", raw.where, error.what()), error.exit_code());
        }
      }
      CheckPrompt(raw.token_ids, raw.where, config);
      all.push_back(std::move(raw.token_ids));
    }
  }
  set.prompts = Choose(std::move(all), options);
  if (set.prompts.empty()) {
    throw Error(fmt::format("choosing prompts: found room for none with --max-prompts {} and --max-tokens {}, expected "
                            "at least 1 prompt of 2 tokens", options.max_prompts, options.max_tokens));
  }
  set.hash = HashOfIds(set.prompts);
  for (const TokenIds& ids : set.prompts) set.token_count += static_cast<int64_t>(ids.size());
  return set;
}

}  // namespace kvtune
