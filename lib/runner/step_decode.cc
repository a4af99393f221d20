#include "lib/runner/step_decode.h"

#include <utility>

#include "lib/runner/kv_cache.h"

namespace kvtune {

at::Tensor LogitsOfDecoding(const Decoder& decoder, const PrecisionPlan& plan,
                            const TokenIds& prompt, int64_t exact_queries) {
  const auto tokens = static_cast<int64_t>(prompt.size());
  const at::TensorOptions index_options =
      at::TensorOptions(at::kLong).device(decoder.options().device());
  const CacheSize size{.rows = 1, .max_tokens = tokens + 1};
  KvCache cache(decoder, size), exact_cache(decoder, size);
  cache.Begin(0, plan, 0);
  exact_cache.Begin(0, PrecisionPlan::Uniform(kExactPair, plan.layers.size()), 0);
  std::vector<at::Tensor> logits;
  for (int64_t position = 0; position < tokens; ++position) {
    at::Tensor hidden =
        decoder.Embed(at::full({1}, prompt[static_cast<size_t>(position)], index_options));
    cache.NextPositions();
    exact_cache.NextPositions();
    for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
      hidden = decoder.BroughtTo(layer, std::move(hidden));
      const QueryKeyValue newest =
          decoder.ProjectQueryKeyValue(layer, hidden.unsqueeze(0), {position, tokens});
      const at::Tensor attention = cache.Attend(layer, newest);
      const at::Tensor exact_attention = exact_cache.Attend(layer, newest);
      decoder.AddAttentionAndMlp(layer, hidden,
                                 position < exact_queries ? exact_attention : attention);
    }
    cache.EndStep();
    exact_cache.EndStep();
    logits.push_back(decoder.Logits(decoder.FinalNorm(decoder.BroughtHome(hidden))));
  }
  return at::cat(logits, 0);
}

}  // namespace kvtune
