#include "lib/calib/exact_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/json_fields.h"
#include "lib/base/log.h"
#include "lib/core/artifacts.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

Json KeyToJson(const ExactCacheKey& key) {
  return {{"schema_version", kSchemaVersion},
          {"version", key.version},
          {"model_hash", key.model_hash},
          {"prompts_hash", key.prompts_hash},
          {"device", key.device},
          {"dtype", key.dtype},
          {"prefill", key.prefill}};
}

// The file is one line of JSON, followed by the hidden states of all prompts one after another. The
// checksum covers the hidden states and the header, except the checksum itself.
std::string ChecksumOf(const Json& key, const Json& prompts, std::string_view hidden) {
  ContentHash hash;
  hash.UpdateField(key.dump());
  hash.UpdateField(prompts.dump());
  hash.UpdateField(hidden);
  return hash.Digest();
}

void Write(const fs::path& file, const ExactCacheKey& key, std::span<const ExactPass> passes) {
  Json prompts = Json::array();
  std::string hidden;
  for (const ExactPass& pass : passes) {
    prompts.push_back({{"bytes", pass.hidden.size()},
                       {"scored", pass.scored},
                       {"nll_sum", pass.nll_sum},
                       {"top1_matches", pass.top1_matches}});
    hidden.append(reinterpret_cast<const char*>(pass.hidden.data()), pass.hidden.size());
  }
  const Json known = KeyToJson(key);
  const Json header = {
      {"key", known}, {"checksum", ChecksumOf(known, prompts, hidden)}, {"prompts", prompts}};
  WriteFileAtomically(file, header.dump() + "\n" + hidden);
}

// The prompt whose pass tells whether this machine rounds as the one that wrote the entry.
size_t ShortestOf(std::span<const TokenIds> prompts) {
  return static_cast<size_t>(std::ranges::min_element(prompts, {}, &TokenIds::size) -
                             prompts.begin());
}

// Restores the passes into the model. Returns whether the model has them now.
bool Restore(const fs::path& file, const ExactCacheKey& key, MeasuredModel& model,
             std::span<const TokenIds> prompts) {
  try {
    const std::vector<ExactPass> passes =
        ParseExactPasses(ReadFile(file), file.string(), key, prompts.size());
    const size_t shortest = ShortestOf(prompts);
    if (model.ExactPasses(prompts.subspan(shortest, 1)).front() != passes[shortest]) {
      throw Error("this machine rounds otherwise");
    }
    model.RestoreExactPasses(prompts, passes);
    return true;
  } catch (const Error& error) {
    LogInfo(fmt::format("cache: {} is made anew: {}", file.string(), error.what()));
    return false;
  }
}

}  // namespace

std::vector<ExactPass> ParseExactPasses(std::string_view content, const std::string& source,
                                        const ExactCacheKey& key, size_t prompt_count) {
  const size_t line_end = content.find('\n');
  if (line_end == std::string_view::npos) throw Error("it has no header");
  const Json header = ParseJsonLine(content.substr(0, line_end), source);
  const std::string_view hidden = content.substr(line_end + 1);
  JsonFields fields(header, source);
  const Json prompts = fields.Value("prompts");
  if (fields.Value("key") != KeyToJson(key)) throw Error("it is of other inputs");
  if (fields.String("checksum") != ChecksumOf(KeyToJson(key), prompts, hidden)) {
    throw Error("its checksum is wrong");
  }
  std::vector<ExactPass> passes;
  size_t begin = 0;
  for (JsonFields& prompt : fields.Objects("prompts")) {
    const size_t bytes = ReadCount(prompt, "bytes");
    if (bytes > hidden.size() - begin) throw Error("it ends early");
    const auto* const first = reinterpret_cast<const std::byte*>(hidden.data()) + begin;
    ExactPass pass{.hidden = std::vector<std::byte>(first, first + bytes),
                   .scored = prompt.Integer("scored"),
                   .nll_sum = prompt.Number("nll_sum"),
                   .top1_matches = prompt.Integer("top1_matches")};
    begin += bytes;
    passes.push_back(std::move(pass));
  }
  if (passes.size() != prompt_count) throw Error("it is of other prompts");
  return passes;
}

fs::path ExactCacheFile(const fs::path& folder, const ExactCacheKey& key) {
  std::string digest = HashOf(KeyToJson(key).dump());
  digest.erase(0, digest.find(':') + 1);
  return folder / ("exact-" + digest + ".bin");
}

CacheUse UseExactCache(const fs::path& folder, const ExactCacheKey& key, MeasuredModel& model,
                       std::span<const TokenIds> prompts) {
  CreateWritableDirectory(folder);
  const fs::path file = ExactCacheFile(folder, key);
  const bool known = fs::exists(file);
  if (known && Restore(file, key, model, prompts)) {
    LogInfo(fmt::format("cache: the exact model's pass over {} prompts is in {}", prompts.size(),
                        file.string()));
    return CacheUse::kUsed;
  }
  // The shortest prompt runs by itself, as it will when the entry is read: on a GPU prompts that
  // run together round otherwise than alone.
  if (!prompts.empty()) model.ExactPasses(prompts.subspan(ShortestOf(prompts), 1));
  Write(file, key, model.ExactPasses(prompts));
  return known ? CacheUse::kReplaced : CacheUse::kStored;
}

}  // namespace kvtune
