#include "lib/runner/prompt_losses.h"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "lib/kernels/parallel_loop.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/token_loss.h"

namespace kvtune {
namespace {

// Returns how many rows of logits should exist at a time. On a CPU, where they should stay in the
// cache as in MaxWeightElements, there are still enough rows to be worth reading the head's
// weights; on a GPU there are as many as there is room for.
int64_t LogitRows(const at::Device& device, int64_t variants, int64_t vocab) {
  constexpr int64_t kCpuElements = 1 << 18, kCpuRows = 64;
  constexpr int64_t kCudaElements = 1 << 29;
  return device.is_cpu() ? std::max(kCpuRows, kCpuElements / vocab)
                         : std::max<int64_t>(1, kCudaElements / (variants * vocab));
}

// Adds the losses of the rows [begin, end) of a chunk under variant `i` of it.
void AddLosses(const TokenLosses& chunk, int64_t i, int64_t begin, int64_t end,
               PromptScore& total) {
  const int64_t row = i * chunk.kl.size(1) + begin, rows = end - begin;
  const float* kl = chunk.kl.const_data_ptr<float>() + row;
  const double* nll = chunk.nll.const_data_ptr<double>() + row;
  const bool* same_top1 = chunk.same_top1.const_data_ptr<bool>() + row;
  total.token_kl.insert(total.token_kl.end(), kl, kl + rows);
  total.nll_sum = std::accumulate(nll, nll + rows, total.nll_sum);
  std::transform(nll, nll + rows, std::back_inserter(total.token_nll),
                 [](double nats) { return static_cast<float>(nats); });
  const float* variation = chunk.variation.const_data_ptr<float>() + row;
  total.total_variation_sum =
      std::accumulate(variation, variation + rows, total.total_variation_sum.value_or(0.0));
  total.top1_matches += std::count(same_top1, same_top1 + rows, true);
}

// The scored rows of several prompts, one prompt behind another.
struct ScoredRows {
  at::Tensor hidden;          // [variants, rows, hidden]
  at::Tensor reference;       // [rows, hidden]
  at::Tensor next_tokens;     // [rows]
  std::vector<int64_t> ends;  // by prompt: how many rows there are up to its last one
};

ScoredRows RowsOf(const Decoder& decoder, std::span<const ScoredPrompt> prompts) {
  std::vector<at::Tensor> hidden, reference;
  std::vector<int32_t> next_tokens;
  ScoredRows rows;
  for (const ScoredPrompt& prompt : prompts) {
    const int64_t first = prompt.first_position;
    const int64_t count = std::max<int64_t>(0, std::ssize(prompt.ids) - 1 - first);
    hidden.push_back(prompt.hidden.narrow(1, first, count));
    reference.push_back(prompt.reference.narrow(0, first, count));
    const auto next = prompt.ids.last(static_cast<size_t>(count));
    next_tokens.insert(next_tokens.end(), next.begin(), next.end());
    rows.ends.push_back(std::ssize(next_tokens));
  }
  const bool is_one = prompts.size() == 1;
  rows.hidden = is_one ? hidden.front() : at::cat(hidden, 1);
  rows.reference = is_one ? reference.front() : at::cat(reference, 0);
  rows.next_tokens = decoder.IdsOf(next_tokens);
  return rows;
}

}  // namespace

std::vector<std::vector<PromptScore>> ScoreHidden(const Decoder& decoder,
                                                  std::span<const ScoredPrompt> prompts,
                                                  Sharing sharing, int threads) {
  const at::Device device = decoder.options().device();
  const ScoredRows all = RowsOf(decoder, prompts);
  const auto variants = static_cast<size_t>(all.hidden.size(0));
  // On a CPU one variant is scored at a time, so that its numbers do not depend on the others; on a
  // GPU all variants are scored together to keep it busy.
  const size_t variants_at_a_time = device.is_cpu() ? 1 : variants;
  std::vector<std::vector<PromptScore>> scores(prompts.size(), std::vector<PromptScore>(variants));
  // Gives the losses of the rows from `begin` on to the prompts whose rows they are.
  const auto add_losses = [&](const TokenLosses& chunk, size_t first_variant, int64_t begin) {
    const int64_t end = begin + chunk.kl.size(1);
    for (size_t p = 0; p < prompts.size(); ++p) {
      const int64_t from = std::max(begin, p == 0 ? 0 : all.ends[p - 1]);
      const int64_t to = std::min(end, all.ends[p]);
      for (int64_t i = 0; from < to && i < chunk.kl.size(0); ++i) {
        AddLosses(chunk, i, from - begin, to - begin,
                  scores[p][first_variant + static_cast<size_t>(i)]);
      }
    }
  };
  const auto add_rows = [&](int64_t begin, int64_t rows) {
    const at::Tensor next_tokens = all.next_tokens.narrow(0, begin, rows);
    const auto reference_logits = [&] {
      const OperatorsOnOneThread same_sums;
      return ReferenceLogits(decoder.Logits(all.reference.narrow(0, begin, rows)));
    };
    const ReferenceLogits shared = reference_logits();
    ParallelLoop(threads, (variants + variants_at_a_time - 1) / variants_at_a_time, [&](size_t i) {
      const c10::InferenceMode no_gradients;
      const OperatorsOnOneThread same_sums;
      const size_t first = i * variants_at_a_time;
      const size_t count = std::min(variants_at_a_time, variants - first);
      const at::Tensor some =
          all.hidden.narrow(0, static_cast<int64_t>(first), static_cast<int64_t>(count))
              .narrow(1, begin, rows);
      const at::Tensor logits = decoder.Logits(decoder.FinalNorm(some));
      const bool own = sharing == Sharing::kNothing && first > 0;
      add_losses(ComputeTokenLosses(own ? reference_logits() : shared, logits, next_tokens), first,
                 begin);
    });
  };
  const int64_t row_count = all.reference.size(0);
  int64_t rows_at_a_time =
      LogitRows(device, static_cast<int64_t>(variants_at_a_time), decoder.config().vocab_size);
  for (int64_t begin = 0; begin < row_count;) {
    const int64_t rows = std::min(rows_at_a_time, row_count - begin);
    try {
      add_rows(begin, rows);
      begin += rows;
      continue;
    } catch (const c10::OutOfMemoryError&) {
      // On a GPU the variants are added all at once, after the last allocation, so nothing was.
      if (rows == 1 || device.is_cpu()) throw;
    }
    ReturnUnusedMemory(device);
    rows_at_a_time = rows / 2;
  }
  for (size_t p = 0; p < prompts.size(); ++p) {
    for (PromptScore& score : scores[p]) {
      score.first_position = prompts[p].first_position;
      score.tokens = static_cast<int64_t>(score.token_kl.size());
      for (const float kl : score.token_kl) score.kl_sum += static_cast<double>(kl);
    }
  }
  return scores;
}

}  // namespace kvtune
