#include "lib/distributed/shared_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/distributed/message.h"
#include "tests/support/fake_model.h"
#include "tests/support/memory_store.h"

namespace kvtune {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr size_t kLayers = 4;
constexpr PrecisionPair kFour{KvFormatId::kInt4, KvFormatId::kInt4};
constexpr PrecisionPair kEight{KvFormatId::kInt8, KvFormatId::kInt8};
constexpr PrecisionPair kScaled{KvFormatId::kFp8E4m3Calibrated, KvFormatId::kFp8E4m3Calibrated};

std::vector<TokenIds> FewPrompts() {
  std::vector<TokenIds> prompts;
  for (int32_t i = 0; i < 7; ++i) prompts.emplace_back(static_cast<size_t>(5 + i), 3 * i);
  return prompts;
}

std::vector<PrecisionPlan> FewPlans() {
  std::vector<PrecisionPlan> plans{PrecisionPlan::Uniform(kExactPair, kLayers)};
  for (unsigned bits = 0; bits < 16; bits += 3) {
    PrecisionPlan& plan = plans.emplace_back();
    for (unsigned layer = 0; layer < kLayers; ++layer) {
      plan.layers.push_back((bits >> layer) % 2 == 0 ? kFour : kEight);
    }
  }
  return plans;
}

// A token is a letter.
std::string TextOfIds(std::span<const int32_t> ids) {
  std::string text;
  for (const int32_t id : ids) text += static_cast<char>('a' + id % 26);
  return text;
}

// As many tokens as prompt and plan say, from one that they say.
TokenIds Written(const PrecisionPlan& plan, const TokenIds& prompt) {
  const int32_t eights = static_cast<int32_t>(std::ranges::count(plan.layers, kEight));
  TokenIds ids;
  for (int32_t i = 0; i < 3 + 4 * eights + prompt.front(); ++i) ids.push_back(i + eights);
  return ids;
}

// What is asked for: every plan on every prompt.
struct FewRows {
  std::vector<PrecisionPlan> plans = FewPlans();
  std::vector<TokenIds> prompts = FewPrompts();
  std::vector<GenerationRow> rows;
  FewRows() {
    for (size_t prompt = 0; prompt < prompts.size(); ++prompt) {
      for (size_t plan = 0; plan < plans.size(); ++plan) rows.push_back({plan, prompt});
    }
  }
  GenerationRequest Request() const {
    return {.plans = plans,
            .prompts = prompts,
            .rows = rows,
            .max_new_tokens = 30,
            .end_tokens = {17},
            .stops = {.texts = {"kl"}, .newest_tokens = 3, .text_of = TextOfIds}};
  }
};

// By row.
std::vector<TokenIds> GenerateFew(MeasuredModel& model) {
  const FewRows few;
  std::vector<TokenIds> generated(few.rows.size());
  std::vector<int> times(few.rows.size());
  model.Generate(few.Request(), [&](const GeneratedRow& row) {
    ++times[row.row];
    generated[row.row] = row.tokens;
    return true;
  });
  EXPECT_THAT(times, ::testing::Each(1));
  return generated;
}

// One process, which is a thread here.
struct Process {
  FakeModelScript script{.losses = {.layer_weights = {3.1, 0.7, 1.9, 0.3}, .interaction = 3},
                         .writes = Written};
  std::string version = "1";
  std::string hash = "h";
  std::string tokenizer_hash = "t";
  std::thread thread = {};
  std::string error = {};
  ~Process() {
    if (thread.joinable()) thread.join();
  }

  ModelSource source() {
    return {.version = version,
            .hash = hash,
            .tokenizer_hash = tokenizer_hash,
            .prefill = "quantized",
            .text_of = TextOfIds,
            .load = [this] { return std::make_unique<FakeModel>(FakeConfig(kLayers), script); }};
  }
};

class SharedRunTest : public ::testing::Test {
 protected:
  SharedRunTest() { SetLogLevel(LogLevel::kQuiet); }

  std::unique_ptr<Store> Connect() { return std::make_unique<MemoryStore>(state); }
  void Serve(Process& process, int rank, int world) {
    process.thread = std::thread([this, &process, rank, world] {
      try {
        process.error =
            ServeRun(Connect(), {.rank = rank, .world = world}, times, process.source(), nullptr)
                .value_or("");
      } catch (const Error& error) {
        process.error = error.what();
      }
    });
  }
  std::unique_ptr<MeasuredModel> Lead(Process& process, int world) {
    return LeadRun(Connect(), {.rank = 0, .world = world}, times, process.source());
  }
  // Waits until rank 0 finds this process when it looks around for its next work.
  void WaitUntilSeen(int rank) {
    while (!state->ValueOf(BeatKey(rank))) std::this_thread::sleep_for(milliseconds(1));
    std::this_thread::sleep_for(2 * times.beat);
  }
  // Everything that is shared, as bytes.
  static std::string Measure(MeasuredModel& model) {
    LeaseResult result;
    const std::vector<PrecisionPair> pairs{kFour, kEight};
    result.observations = model.ObserveAttention(FewPrompts(), pairs, nullptr);
    std::string bytes = Encode(result);
    for (int round = 0; round < 3; ++round) {
      result.scores = model.ScorePlans(FewPlans(), FewPrompts(), nullptr);
      result.generated = GenerateFew(model);
      bytes += Encode(result);
    }
    return bytes;
  }

  std::shared_ptr<MemoryStoreState> state = std::make_shared<MemoryStoreState>();
  LeaseTimes times = kPatientTimes;
};

TEST_F(SharedRunTest, ResultsDoNotDependOnTheNumberOfProcesses) {
  Process alone;
  FakeModel model(FakeConfig(kLayers), alone.script);
  // As one call for each prompt in their order adds up, which is what the runner does inside.
  LeaseResult expected;
  for (const TokenIds& prompt : FewPrompts()) {
    const std::vector<PrecisionPair> pairs{kFour, kEight};
    auto observed = model.ObserveAttention(std::span(&prompt, 1), pairs, nullptr);
    if (expected.observations.empty()) {
      expected.observations = std::move(observed);
    } else {
      for (size_t i = 0; i < kLayers; ++i) expected.observations[i] += observed[i];
    }
  }
  std::string bytes = Encode(expected);
  for (int round = 0; round < 3; ++round) {
    expected.scores = model.ScorePlans(FewPlans(), FewPrompts(), nullptr);
    expected.generated = GenerateFew(model);
    bytes += Encode(expected);
  }
  for (const int world : {2, 3, 5}) {
    state = std::make_shared<MemoryStoreState>();
    Process first, others[4];
    for (int rank = 1; rank < world; ++rank) Serve(others[rank - 1], rank, world);
    EXPECT_EQ(Measure(*Lead(first, world)), bytes) << world;
    for (Process& other : others) {
      if (other.thread.joinable()) other.thread.join();
      EXPECT_EQ(other.error, "");
    }
  }
}

TEST_F(SharedRunTest, ProcessesShareGenerationUntilItIsStopped) {
  Process first, second;
  std::atomic<int> busy = 0;  // none is done before both have rows
  first.script.on_call = second.script.on_call = [&](const FakeCall& call) {
    if (call.kind != FakeCallKind::kGenerate) return;
    ++busy;
    while (busy < 2) std::this_thread::sleep_for(milliseconds(1));
  };
  Serve(second, 1, 2);
  {
    const std::unique_ptr<MeasuredModel> model = Lead(first, 2);
    WaitUntilSeen(1);
    GenerateFew(*model);
    const auto first_calls = first.script.CallsOf(FakeCallKind::kGenerate);
    const auto second_calls = second.script.CallsOf(FakeCallKind::kGenerate);
    ASSERT_EQ(first_calls.size(), 1u);
    ASSERT_EQ(second_calls.size(), 1u);
    EXPECT_EQ(first_calls[0].rows.size() + second_calls[0].rows.size(), FewRows().rows.size());
    EXPECT_LT(first_calls[0].prompts.size(), FewPrompts().size());  // those of its rows alone
    const FewRows few;
    int rows = 0;
    model->Generate(few.Request(), [&](const GeneratedRow&) { return ++rows < 5; });
    EXPECT_EQ(rows, 5);
    EXPECT_EQ(GenerateFew(*model).size(), few.rows.size());
  }
  second.thread.join();
  EXPECT_EQ(second.error, "");
}

TEST_F(SharedRunTest, ProcessesShareScoringAndObservation) {
  Process first, second;
  std::atomic<int> busy = 0;  // none has scored before both have something to score
  first.script.on_call = second.script.on_call = [&](const FakeCall& call) {
    if (call.kind != FakeCallKind::kScore) return;
    ++busy;
    while (busy < 2) std::this_thread::sleep_for(milliseconds(1));
  };
  Serve(second, 1, 2);
  {
    const std::unique_ptr<MeasuredModel> model = Lead(first, 2);
    WaitUntilSeen(1);
    Measure(*model);
  }
  second.thread.join();
  EXPECT_GT(second.script.CountOf(FakeCallKind::kScore), 0u);
  EXPECT_GT(first.script.CountOf(FakeCallKind::kScore), 0u);
  EXPECT_EQ(
      first.script.CountOf(FakeCallKind::kObserve) + second.script.CountOf(FakeCallKind::kObserve),
      FewPrompts().size());
}

TEST_F(SharedRunTest, ProgressCountsThePromptsOfAllProcesses) {
  Process first, second;
  Serve(second, 1, 2);
  const std::unique_ptr<MeasuredModel> model = Lead(first, 2);
  int64_t finished = 0;
  model->ScorePlans(FewPlans(), FewPrompts(), [&](int64_t prompts) { finished += prompts; });
  EXPECT_EQ(finished, std::ssize(FewPrompts()));
}

TEST_F(SharedRunTest, MaximaReachEveryProcess) {
  Process first, second;
  first.script.on_call = [](const FakeCall& call) {
    if (call.kind == FakeCallKind::kScore) std::this_thread::sleep_for(milliseconds(3));
  };
  std::atomic<bool> has_maxima = false;
  second.script.on_call = [&](const FakeCall& call) {
    if (call.kind == FakeCallKind::kSetMaxima) has_maxima = true;
  };
  Serve(second, 1, 2);
  {
    const std::unique_ptr<MeasuredModel> model = Lead(first, 2);
    const std::vector<PrecisionPlan> plans{PrecisionPlan::Uniform(kScaled, kLayers)};
    EXPECT_THAT([&] { model->ScorePlans(plans, FewPrompts(), nullptr); },
                ThrowsMessage<Error>(HasSubstr("found no cache maxima")));
    model->SetCacheMaxima(std::vector<LayerMaxima>(kLayers, {.key = {1, 1}, .value = {1, 1}}));
    while (!has_maxima) model->ScorePlans(plans, FewPrompts(), nullptr);
    for (int round = 0; round < 5; ++round) model->ScorePlans(plans, FewPrompts(), nullptr);
  }
  second.thread.join();
  EXPECT_EQ(second.error, "");
  EXPECT_EQ(second.script.CountOf(FakeCallKind::kSetMaxima), 1u);
}

TEST_F(SharedRunTest, AnErrorOfAnotherProcessIsTheErrorOfTheRun) {
  Process first, second;
  first.script.on_call = [](const FakeCall&) { std::this_thread::sleep_for(milliseconds(20)); };
  second.script.on_call = [](const FakeCall& call) {
    if (call.kind == FakeCallKind::kScore) throw Error("scoring: found no room");
  };
  Serve(second, 1, 2);
  EXPECT_THAT(
      [&] {
        const std::unique_ptr<MeasuredModel> model = Lead(first, 2);
        for (int round = 0; round < 100; ++round) {
          model->ScorePlans(FewPlans(), FewPrompts(), nullptr);
        }
      },
      ThrowsMessage<Error>(HasSubstr("scoring: found no room")));
  second.thread.join();
  EXPECT_THAT(second.error, HasSubstr("found that it ended with an error"));
}

TEST_F(SharedRunTest, ProcessesOfAnotherKindAreRefused) {
  Process first, other_version, other_model, other_tokenizer, other_type, other_world;
  other_version.version = "2";
  other_model.hash = "x";
  other_tokenizer.tokenizer_hash = "y";
  other_type.script.data_type_name = "float16";
  Serve(other_version, 1, 6);
  Serve(other_model, 2, 6);
  Serve(other_type, 3, 6);
  Serve(other_tokenizer, 4, 6);
  Serve(other_world, 5, 7);
  {
    const std::unique_ptr<MeasuredModel> model = Lead(first, 6);
    for (Process* other :
         {&other_version, &other_model, &other_tokenizer, &other_type, &other_world}) {
      other->thread.join();
    }
  }
  EXPECT_EQ(other_version.error, "joining the run: found the version 2, expected 1 as rank 0 has");
  EXPECT_EQ(other_model.error, "joining the run: found the model x, expected h as rank 0 has");
  EXPECT_EQ(other_type.error,
            "joining the run: found the data type float16, expected float32 as rank 0 has");
  EXPECT_EQ(other_tokenizer.error,
            "joining the run: found the tokenizer y, expected t as rank 0 has");
  EXPECT_EQ(other_world.error,
            "joining the run: found the number of processes 7, expected 6 as rank 0 has");
}

TEST_F(SharedRunTest, TwoRunsOnOneStoreAreRefused) {
  Process first, second, third, fourth;
  const std::unique_ptr<MeasuredModel> model = Lead(first, 2);
  EXPECT_THAT([&] { Lead(second, 2); },
              ThrowsMessage<Error>(HasSubstr("opening the store: found that another run uses it, "
                                             "expected a store of its own")));
  Serve(third, 1, 2);
  while (!state->ValueOf(BeatKey(1))) std::this_thread::sleep_for(milliseconds(1));
  Serve(fourth, 1, 2);
  fourth.thread.join();
  EXPECT_THAT(fourth.error, HasSubstr("joining the run: found another process of rank 1 at work, "
                                      "expected one for each rank"));
}

TEST_F(SharedRunTest, ANewProcessTakesThePlaceOfADeadOne) {
  times = kQuickTimes;
  Process first, second;
  MemoryStore store(state);
  const std::unique_ptr<MeasuredModel> model = Lead(first, 2);
  store.Add("joined/1", 1);
  store.Set(BeatKey(1), BeatText({.count = 3, .slot = 0}));
  first.script.on_call = [](const FakeCall&) { std::this_thread::sleep_for(milliseconds(5)); };
  std::atomic<bool> scores = false;
  second.script.on_call = [&](const FakeCall& call) {
    if (call.kind == FakeCallKind::kScore) scores = true;
  };
  Serve(second, 1, 2);
  while (!scores) model->ScorePlans(FewPlans(), FewPrompts(), nullptr);
}

TEST_F(SharedRunTest, AModelThatRankZeroCannotLoadEndsTheOthers) {
  Process first, second;
  Serve(second, 1, 2);
  ModelSource source = first.source();
  source.load = [&]() -> std::unique_ptr<MeasuredModel> {
    while (!state->ValueOf(BeatKey(1))) std::this_thread::sleep_for(milliseconds(1));
    throw Error("loading: found nothing");
  };
  EXPECT_THAT([&] { LeadRun(Connect(), {.rank = 0, .world = 2}, times, source); },
              ThrowsMessage<Error>(HasSubstr("loading: found nothing")));
  second.thread.join();
  EXPECT_THAT(second.error, HasSubstr("found that it ended with an error"));
}

TEST_F(SharedRunTest, WithoutRankZeroAProcessDoesNotWaitForEver) {
  times = kQuickTimes;
  Process second;
  Serve(second, 1, 2);
  second.thread.join();
  EXPECT_EQ(second.error, "joining the run: found no rank 0, expected its greeting in the store");
}

}  // namespace
}  // namespace kvtune
