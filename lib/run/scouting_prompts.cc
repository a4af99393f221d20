#include "lib/run/scouting_prompts.h"

#include <algorithm>

namespace kvtune {
namespace {

int64_t TokensOf(std::span<const TokenIds> prompts, int64_t longest) {
  int64_t tokens = 0;
  for (const TokenIds& prompt : prompts) tokens += std::min<int64_t>(std::ssize(prompt), longest);
  return tokens;
}

}  // namespace

std::vector<TokenIds> ScoutingPrompts(std::span<const TokenIds> prompts) {
  const size_t fewest = std::min(prompts.size(), kFewestScoutingPrompts);
  size_t count = std::max(prompts.size() / 4, fewest);
  while (count > fewest &&
         TokensOf(prompts.first(count), kMostScoutingTokens) > kMostScoutingTokens)
    --count;
  // The largest length to which all of them can be cut.
  int64_t low = 1, high = kMostScoutingTokens;
  while (low < high) {
    const int64_t middle = low + (high - low + 1) / 2;
    if (TokensOf(prompts.first(count), middle) <= kMostScoutingTokens) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  std::vector<TokenIds> scouted;
  for (const TokenIds& prompt : prompts.first(count)) {
    scouted.emplace_back(prompt.begin(),
                         prompt.begin() + std::min<int64_t>(std::ssize(prompt), low));
  }
  return scouted;
}

}  // namespace kvtune
