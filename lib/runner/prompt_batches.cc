#include "lib/runner/prompt_batches.h"

#include <algorithm>
#include <numeric>

namespace kvtune {
namespace {

// Of so many rows at most one is padding.
constexpr int64_t kRowsPerPadding = 8;

}  // namespace

std::vector<PromptBatch> FormBatches(std::span<const BatchedPrompt> prompts, size_t variants,
                                     int64_t most_rows) {
  // The longest come first, so that threads that share the batches end at about the same time.
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(
      order, [&](size_t a, size_t b) { return prompts[a].tokens > prompts[b].tokens; });
  const int64_t most_tokens = most_rows / static_cast<int64_t>(std::max<size_t>(variants, 1));
  std::vector<PromptBatch> batches;
  int64_t padding = 0;  // of the last batch
  for (const size_t prompt : order) {
    const auto [tokens, kind] = prompts[prompt];
    if (!batches.empty()) {
      PromptBatch& last = batches.back();
      const int64_t more = last.tokens - tokens;
      const int64_t padded = last.tokens * (std::ssize(last.prompts) + 1);
      if (kind == prompts[last.prompts.front()].kind && padded <= most_tokens &&
          (padding + more) * kRowsPerPadding <= padded) {
        last.prompts.push_back(prompt);
        padding += more;
        continue;
      }
    }
    batches.push_back({.prompts = {prompt}, .tokens = tokens});
    padding = 0;
  }
  return batches;
}

std::vector<PromptBatch> EachAlone(std::span<const TokenIds> prompts) {
  std::vector<BatchedPrompt> lengths;
  for (const TokenIds& prompt : prompts) lengths.push_back({.tokens = std::ssize(prompt)});
  return FormBatches(lengths, 1, 0);
}

}  // namespace kvtune
