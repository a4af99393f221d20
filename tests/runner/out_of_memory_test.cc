// Scoring where the device has no room for all plans at a time. On a CPU the room is that of an
// allocator of ours, which refuses large tensors; on a GPU most of the memory is taken.
#include <ATen/ops/empty.h>
#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "lib/base/error.h"
#include "lib/runner/device_memory.h"
#include "tests/runner/decoding_cases.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

// Has no room for tensors of more than `largest` bytes for as long as it lives.
class SmallMemory : public c10::Allocator {
 public:
  explicit SmallMemory(size_t largest) : largest_(largest) {
    c10::SetAllocator(at::kCPU, this, kPriority);
  }
  ~SmallMemory() override { c10::SetAllocator(at::kCPU, &usual_, kPriority); }

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes > largest_) {
      ++refused_;
      TORCH_CHECK_WITH(OutOfMemoryError, false, "no room for ", bytes, " bytes");
    }
    return usual_.allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return usual_.raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    usual_.copy_data(to, from, bytes);
  }

  int refused() const { return refused_; }

 private:
  static constexpr uint8_t kPriority = 255;
  size_t largest_;
  std::atomic<int> refused_ = 0;
  c10::Allocator& usual_ = *c10::GetAllocator(at::kCPU);
};

constexpr int64_t kTokens = 64;

// Plans that differ in the first layer already.
std::vector<PrecisionPlan> SixteenPlans() {
  using enum KvFormatId;
  std::vector<PrecisionPlan> plans;
  for (const KvFormatId key : {kInt8, kInt4, kInt2, kFp8E4m3}) {
    for (const KvFormatId value : {kInt8, kInt4, kInt2, kFp8E4m3})
      plans.push_back(PrecisionPlan::Uniform({key, value}, 3));
  }
  return plans;
}

std::vector<std::vector<float>> LossesOf(ModelRunner& runner,
                                         const std::vector<PrecisionPlan>& plans,
                                         const std::vector<TokenIds>& prompts) {
  std::vector<std::vector<float>> losses;
  for (const auto& of_plan : runner.ScorePlans(plans, prompts, nullptr)) {
    for (const PromptScore& score : of_plan) losses.push_back(score.token_kl);
  }
  return losses;
}

class ScoringInLittleRoom : public ::testing::Test {
 protected:
  // What a block's attention takes of every plan is twice its hidden states.
  const Tiny tiny_{TinyModel{.hidden = 32, .query_heads = 4, .head_dim = 16}};
  const size_t hidden_bytes_ = kTokens * 32 * sizeof(float);
  const std::vector<PrecisionPlan> plans_ = SixteenPlans();
  const std::vector<TokenIds> prompts_ = {RandomPrompt(kTokens, 64, 1)};
  const std::vector<std::vector<float>> expected_ = LossesOf(*tiny_.Runner(), plans_, prompts_);
};

TEST_F(ScoringInLittleRoom, HalvesABlockOfALayer) {
  const auto runner = tiny_.Runner();
  ::testing::internal::CaptureStderr();
  {
    const SmallMemory memory(16 * hidden_bytes_);
    EXPECT_EQ(LossesOf(*runner, plans_, prompts_), expected_);
    EXPECT_EQ(memory.refused(), 1);  // all children of the first layer, and none of their halves
  }
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), Not(HasSubstr("no room")));
}

TEST_F(ScoringInLittleRoom, HalvesThePlansAndRemembersIt) {
  const auto runner = tiny_.Runner();
  ::testing::internal::CaptureStderr();
  {
    const SmallMemory memory(8 * hidden_bytes_);
    EXPECT_EQ(LossesOf(*runner, plans_, prompts_), expected_);
    EXPECT_EQ(LossesOf(*runner, plans_, prompts_), expected_);
  }
  EXPECT_EQ(LossesOf(*runner, plans_, prompts_), expected_);  // the allocator left nothing behind
  const std::string log = ::testing::internal::GetCapturedStderr();
  const std::string halved = "the device has no room for 16 plans at a time; scoring 8";
  EXPECT_THAT(log, HasSubstr(halved));
  EXPECT_EQ(log.find(halved), log.rfind(halved)) << "the second call should know";
}

TEST_F(ScoringInLittleRoom, SaysWhatNeedsLessWhereASinglePlanHasNoRoom) {
  const auto runner = tiny_.Runner();
  const SmallMemory memory(hidden_bytes_ / 2);
  EXPECT_THAT([&] { runner->ScorePlans(plans_, prompts_, nullptr); },
              ThrowsMessage<Error>(HasSubstr("scoring plans: the device ran out of memory")));
}

// There is room for the attention weights of one prompt, which a block of a layer is halved to, and
// for the logits of four prompts or the hidden states of eight.
class ScoringPromptsInLittleRoom : public ::testing::Test {
 protected:
  static constexpr ProbeOptions kTogether{.arithmetic = ProbeArithmetic::kFloat64,
                                          .batch_rows = 1 << 20};
  static constexpr ProbeOptions kAlone{.arithmetic = ProbeArithmetic::kFloat64, .batch_rows = 0};

  static std::vector<TokenIds> EightPrompts() {
    std::vector<TokenIds> prompts;
    for (uint64_t i = 0; i < 8; ++i) prompts.push_back(RandomPrompt(kTokens, 64, i));
    return prompts;
  }

  // Scores with little room, which ends with the call.
  std::vector<std::vector<float>> LossesInLittleRoom(ModelRunner& runner,
                                                     const std::vector<PrecisionPlan>& plans) {
    const SmallMemory memory(4 * kTokens * kTokens * sizeof(double));
    return LossesOf(runner, plans, prompts_);
  }

  void ExpectNearlyEqual(const std::vector<std::vector<float>>& found,
                         const std::vector<PrecisionPlan>& plans) const {
    const auto expected = LossesOf(*tiny_.Runner(ModelOptions{}, kAlone), plans, prompts_);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].size(), expected[i].size());
      for (size_t t = 0; t < found[i].size(); ++t)
        EXPECT_NEAR(found[i][t], expected[i][t], 1e-9 + 1e-4 * expected[i][t]) << i << " " << t;
    }
  }

  const Tiny tiny_{TinyModel{.hidden = 32, .query_heads = 4, .head_dim = 16}};
  const std::vector<TokenIds> prompts_ = EightPrompts();
};

TEST_F(ScoringPromptsInLittleRoom, HalvesABatchOfPromptsAndRemembersIt) {
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kInt4Pair, 3)};
  const auto runner = tiny_.Runner(ModelOptions{}, kTogether);
  ::testing::internal::CaptureStderr();
  ExpectNearlyEqual(LossesInLittleRoom(*runner, plans), plans);
  ExpectNearlyEqual(LossesInLittleRoom(*runner, plans), plans);
  const std::string log = ::testing::internal::GetCapturedStderr();
  const std::string halved = "the device has no room for 8 prompts at a time; taking 4";
  EXPECT_THAT(log, HasSubstr(halved));
  EXPECT_EQ(log.find("no room"), log.rfind("no room")) << log;
}

TEST_F(ScoringPromptsInLittleRoom, HalvesPromptsBeforePlans) {
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kInt4Pair, 3),
                                            PrecisionPlan::Uniform(kInt2Pair, 3)};
  const auto runner = tiny_.Runner(ModelOptions{}, kTogether);
  runner->ExactPasses(prompts_);
  ::testing::internal::CaptureStderr();
  ExpectNearlyEqual(LossesInLittleRoom(*runner, plans), plans);
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("the device has no room for 8 prompts at a time; taking 4"));
  EXPECT_EQ(log.find("no room"), log.rfind("no room")) << log;
}

TEST_F(ScoringPromptsInLittleRoom, HalvesPlansWherePromptsAreAlone) {
  const std::vector<PrecisionPlan> plans = SixteenPlans();
  const auto runner = tiny_.Runner(ModelOptions{}, kTogether);
  ::testing::internal::CaptureStderr();
  ExpectNearlyEqual(LossesInLittleRoom(*runner, plans), plans);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("the device has no room for 16 plans at a time; scoring 8"));
}

TEST_F(ScoringPromptsInLittleRoom, CountsAPromptOnce) {
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kInt4Pair, 3),
                                            PrecisionPlan::Uniform(kInt2Pair, 3)};
  const auto runner = tiny_.Runner(ModelOptions{}, kTogether);
  runner->ExactPasses(prompts_);
  int64_t finished = 0;
  ::testing::internal::CaptureStderr();
  {
    const SmallMemory memory(4 * kTokens * kTokens * sizeof(double));
    runner->ScorePlans(plans, prompts_, [&](int64_t count) { finished += count; });
  }
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("no room"));
  EXPECT_EQ(finished, 8);
}

// The logits of 16 plans need more than what is left, half of them need less.
TEST(ScoringOnAFullGpu, GoesOnWithFewerRowsAtATime) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  constexpr int64_t kVocab = 16384, kLong = 240;
  constexpr int64_t kLogitBytes = 16 * (kLong - 1) * kVocab * int64_t{sizeof(float)};
  constexpr int64_t kLeft = kLogitBytes * 3 / 4;
  const TemporaryDirectory directory;
  WriteTinyCheckpoint({.vocab = kVocab}, directory.path());
  const Checkpoint checkpoint(directory.path());
  ModelProbe runner(checkpoint, {.device = "cuda", .data_type = DataType::kFloat32}, {});
  const std::vector<TokenIds> prompts = {RandomPrompt(kLong, kVocab, 1)};
  const auto expected = LossesOf(runner, SixteenPlans(), prompts);
  const at::Device device(at::kCUDA, 0);
  ReturnUnusedMemory(device);
  ASSERT_GT(FreeMemory(device), kLeft);
  std::vector<std::vector<float>> found;
  {
    const at::Tensor taken =
        at::empty({FreeMemory(device) - kLeft}, at::TensorOptions(at::kByte).device(device));
    found = LossesOf(runner, SixteenPlans(), prompts);
  }
  ReturnUnusedMemory(device);  // Later tests need some outside of the allocator, for kernels.
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].size(), expected[i].size());
    for (size_t t = 0; t < found[i].size(); ++t)
      EXPECT_NEAR(found[i][t], expected[i][t], 1e-6 + 1e-3 * expected[i][t]) << i << " " << t;
  }
}

}  // namespace
}  // namespace kvtune
