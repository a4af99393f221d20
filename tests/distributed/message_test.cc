#include "lib/distributed/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr PrecisionPair kMixed{KvFormatId::kInt8, KvFormatId::kInt2};

LeaseRequest SampleRequest() {
  return {.kind = LeaseKind::kObserve,
          .maxima_version = 3,
          .plans = {PrecisionPlan::Uniform(kMixed, 3), PrecisionPlan::Uniform(kExactPair, 3)},
          .pairs = {kMixed, kExactPair},
          .prompts = {{1, -2, 3}, {}, {std::numeric_limits<int32_t>::max()}},
          .rows = {{1, 2}, {0, 0}},
          .shared_tokens = 2,
          .ends = {
              .max_new_tokens = 9, .end_tokens = {4, 5}, .stops = {"\n\n", ""}, .stop_tokens = 10}};
}

LeaseResult SampleResult() {
  LeaseResult result;
  result.error = "one\nline";
  result.seconds = 0.1;
  PromptScore score{.tokens = 7,
                    .kl_sum = 1.0 / 3,
                    .nll_sum = -0.0,
                    .exact_nll_sum = std::numeric_limits<double>::denorm_min(),
                    .top1_matches = 5,
                    .total_variation_sum = 0.25,
                    .first_position = 2,
                    .token_kl = {0.1F, std::numeric_limits<float>::quiet_NaN()},
                    .token_nll = {3}};
  PromptScore second = score;
  second.total_variation_sum = std::nullopt;
  result.scores = {{score, second}, {}};
  LayerObservation observed;
  observed.pairs = {{.kv_heads = {HeadErrorSums{.k_error = 1.0 / 7, .a_count = 9}},
                     .key_channel_error = {0.5, 1.0 / 9}}};
  observed.concentration_sum = {1, 2};
  observed.concentration_count = 3;
  observed.key_channel_max = {4};
  observed.key_channel_total = {5};
  observed.maxima = {.key = {6}, .value = {7}, .stored_key_scales = {8}, .stored_value_scales = {}};
  observed.key_bias_norm = 9;
  result.observations = {observed};
  result.generated = {{1, 2}, {}, {3}};
  return result;
}

TEST(Messages, KeepEveryBit) {
  const LeaseRequest request = DecodeRequest(Encode(SampleRequest()));
  EXPECT_EQ(request.kind, LeaseKind::kObserve);
  EXPECT_EQ(request.maxima_version, 3);
  EXPECT_EQ(request.plans, SampleRequest().plans);
  EXPECT_EQ(request.pairs, SampleRequest().pairs);
  EXPECT_EQ(request.prompts, SampleRequest().prompts);
  EXPECT_EQ(request.rows, SampleRequest().rows);
  EXPECT_EQ(request.shared_tokens, 2);
  EXPECT_EQ(request.ends.max_new_tokens, 9);
  EXPECT_EQ(request.ends.end_tokens, SampleRequest().ends.end_tokens);
  EXPECT_EQ(request.ends.stops, SampleRequest().ends.stops);
  EXPECT_EQ(request.ends.stop_tokens, 10u);

  const LeaseResult result = DecodeResult(Encode(SampleResult()));
  // The bytes have every field, so that they differ where a field is lost.
  EXPECT_EQ(Encode(result), Encode(SampleResult()));
  EXPECT_EQ(result.error, "one\nline");
  EXPECT_EQ(result.scores[0][0].kl_sum, 1.0 / 3);
  EXPECT_EQ(result.scores[0][0].total_variation_sum, 0.25);
  EXPECT_EQ(result.scores[0][1].total_variation_sum, std::nullopt);
  EXPECT_EQ(result.scores[0][1].token_nll, std::vector<float>{3});
  EXPECT_EQ(result.observations[0].pairs[0].kv_heads[0].k_error, 1.0 / 7);
  EXPECT_EQ(result.observations[0].maxima, SampleResult().observations[0].maxima);
  EXPECT_EQ(result.observations[0].key_bias_norm, 9);
  EXPECT_EQ(result.generated, SampleResult().generated);

  const std::vector<LayerMaxima> maxima{{.key = {1}, .value = {2, 3}}};
  EXPECT_EQ(DecodeMaxima(Encode(maxima)), maxima);
}

TEST(Messages, CutOrLongerBytesAreRefused) {
  const std::string bytes = Encode(SampleResult());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(DecodeResult(bytes.substr(0, size)), Error) << size;
  }
  EXPECT_THAT([&] { DecodeResult(bytes + "x"); },
              ThrowsMessage<Error>(HasSubstr("reading a message of another process: found bytes of "
                                             "another form, expected those of this version")));
}

}  // namespace
}  // namespace kvtune
