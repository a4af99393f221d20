#include "lib/run/task_scorer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/io/model_directory.h"
#include "lib/run/item_evaluator.h"
#include "lib/tokenizer/tokenizer.h"
#include "tests/support/fake_model.h"
#include "tests/support/sums_task.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

namespace fs = std::filesystem;

const PrecisionPlan kExactPlan = PrecisionPlan::Uniform(kExactPair, 2);
const PrecisionPlan kPlan8 = PrecisionPlan::Uniform(kKV8, 2);
const PrecisionPlan kPlan2 = PrecisionPlan::Uniform(kKV2, 2);

TEST(TaskScorer, JudgesEveryPlanOnEveryItem) {
  Sums sums;
  const PreparedTask task = sums.Prepare();
  FakeModel model(FakeConfig(2), sums.script);
  TaskScorer scorer(model, task, nullptr);
  const auto results = scorer.Score(std::vector{kExactPlan, kPlan8, kPlan2}, {});
  ASSERT_TRUE(results);
  EXPECT_EQ((*results)[0][3].generated.text, "It is 4.\n");
  EXPECT_EQ((*results)[0][3].grade.text, "It is 4.");
  const AccuracyScore exact = SummarizeAccuracy(task.task(), (*results)[0], (*results)[0]);
  EXPECT_EQ(exact.task, "sums");
  EXPECT_EQ(exact.items, 8);
  EXPECT_EQ(exact.strict, 1);
  EXPECT_EQ(exact.standard_error, 0);
  EXPECT_EQ(exact.mcnemar_p, 1);
  const AccuracyScore two = SummarizeAccuracy(task.task(), (*results)[2], (*results)[0]);
  EXPECT_EQ(two.strict, 0.5);
  EXPECT_EQ(two.lost, 4);
  EXPECT_EQ(two.gained, 0);
  EXPECT_EQ(two.mcnemar_p, 0.125);
  EXPECT_GT(two.tokens, 8);
  EXPECT_EQ(two.invalid, 0);
  // One request holds all plans, prompt by prompt.
  ASSERT_EQ(sums.script.CountOf(FakeCallKind::kGenerate), 1u);
  const std::vector<GenerationRow> rows = sums.script.calls[0].rows;
  ASSERT_EQ(rows.size(), 24u);
  EXPECT_EQ(rows[4], (GenerationRow{1, 1}));
}

TEST(TaskScorer, AsksForAPlanOnce) {
  Sums sums;
  const PreparedTask task = sums.Prepare();
  FakeModel model(FakeConfig(2), sums.script);
  TaskScorer scorer(model, task, nullptr);
  scorer.Score(std::vector{kExactPlan, kPlan8, kPlan8}, {});
  EXPECT_EQ(sums.script.calls[0].plans.size(), 2u);
  scorer.Score(std::vector{kPlan8, kPlan2}, {});
  EXPECT_EQ(sums.script.calls[1].plans, std::vector{kPlan2});
}

TEST(TaskScorer, AnswersSomeItemsAndThenTheOthers) {
  Sums sums;
  const PreparedTask task = sums.Prepare();
  FakeModel model(FakeConfig(2), sums.script);
  TaskScorer scorer(model, task, nullptr);
  const std::vector<size_t> some = {6, 1};
  const auto results = scorer.ScoreItems(std::vector{kPlan2, kPlan8}, some, {});
  ASSERT_TRUE(results);
  ASSERT_EQ(results->at(0).size(), 2u);
  EXPECT_FALSE(results->at(0)[0].grade.correct());  // item 6 under KV2
  EXPECT_TRUE(results->at(0)[1].grade.correct());
  EXPECT_TRUE(results->at(1)[0].grade.correct());
  EXPECT_EQ(sums.script.calls[0].rows.size(), 4u);
  const auto all = scorer.Score(std::vector{kPlan2}, {});
  EXPECT_EQ(all->at(0).size(), 8u);
  EXPECT_EQ(sums.script.calls[1].rows.size(), 6u);
  TaskScorer fresh(model, task, nullptr);
  const auto at_once = fresh.Score(std::vector{kPlan2}, {});
  for (size_t item = 0; item < 8; ++item)
    EXPECT_EQ(all->at(0)[item].grade.text, at_once->at(0)[item].grade.text);
}

TEST(ItemEvaluator, CountsWrongAnswersAndTokens) {
  Sums sums;
  const PreparedTask task = sums.Prepare();
  FakeModel model(FakeConfig(2), sums.script);
  TaskScorer scorer(model, task, nullptr);
  const std::vector<size_t> items = {7, 3, 0, 5};
  ItemEvaluator evaluator(scorer, items, 2);
  const std::vector<PlanScore> scores = evaluator.Evaluate(std::vector{kExactPlan, kPlan2});
  EXPECT_EQ(scores[0].prompts, 4);
  EXPECT_DOUBLE_EQ(scores[0].kl_mean, 0.125);  // half an item of four
  EXPECT_DOUBLE_EQ(scores[1].kl_mean, 0.875);  // 3 of four: all but "0 + 1"
  EXPECT_DOUBLE_EQ(scores[1].per_prompt[2].kl_sum, 0.125);
  int64_t tokens = 0;
  const auto results = scorer.ScoreItems(std::vector{kExactPlan, kPlan2}, items, {});
  for (const auto& of_plan : *results) {
    for (const ItemResult& result : of_plan) tokens += result.generated.tokens;
  }
  EXPECT_EQ(evaluator.generated_tokens(), tokens);
  EXPECT_GT(tokens, 8);
  // A part of the items, as racing asks for.
  const auto part = evaluator.ScorePrompts(std::vector{kPlan2}, {2, 3});
  ASSERT_EQ(part.at(0).size(), 1u);
  EXPECT_DOUBLE_EQ(part.at(0)[0].kl_sum, 0.125);
}

TEST(SplitItems, SearchesOnSomeAndTestsOnTheOthers) {
  const ItemSplit split = SplitItems(50, 20, 3);
  EXPECT_EQ(split.search.size(), 20u);
  EXPECT_EQ(split.test.size(), 30u);
  EXPECT_TRUE(std::ranges::is_sorted(split.test));
  EXPECT_FALSE(std::ranges::is_sorted(split.search));
  std::vector<size_t> all = split.search;
  all.insert(all.end(), split.test.begin(), split.test.end());
  std::ranges::sort(all);
  for (size_t item = 0; item < 50; ++item) EXPECT_EQ(all[item], item);
  EXPECT_EQ(SplitItems(50, 20, 3).search, split.search);
  EXPECT_NE(SplitItems(50, 20, 4).search, split.search);
  EXPECT_EQ(SplitItems(50, 0, 3).search.size(), 25u);
  EXPECT_EQ(SplitItems(1000, 0, 3).search.size(), 200u);
}

TEST(SplitItems, LeavesSomeToTestOn) {
  EXPECT_THAT([] { SplitItems(12, 12, 0); },
              ThrowsMessage<Error>(HasSubstr("found 12 to search on of 12")));
  EXPECT_THAT([] { SplitItems(1, 0, 0); },
              ThrowsMessage<Error>(HasSubstr("found 0 to search on of 1")));
}

TEST(TaskScorer, GoesOnFromTheFileOfSamples) {
  Sums sums;
  const PreparedTask task = sums.Prepare();
  FakeModel model(FakeConfig(2), sums.script);
  const std::vector<PrecisionPlan> plans = {kExactPlan, kPlan2};
  {
    SampleLog log(sums.samples(), "this one");
    TaskScorer scorer(model, task, &log);
    int ended = 0;
    EXPECT_FALSE(scorer.Score(plans, [&] { return ++ended == 5; }));
  }
  std::string kept = ReadFile(sums.samples());
  EXPECT_EQ(std::ranges::count(kept, '\n'), 5);
  // A crash tears the last line.
  WriteFileAtomically(sums.samples(), std::string_view(kept).substr(0, kept.size() - 7));
  SampleLog log(sums.samples(), "this one");
  EXPECT_EQ(log.found(), 4u);
  TaskScorer scorer(model, task, &log);
  SetLogLevel(LogLevel::kNormal);
  ::testing::internal::CaptureStderr();
  const auto results = scorer.Score(plans, {});
  SetLogLevel(LogLevel::kQuiet);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("4 answers are in the file of samples already"));
  ASSERT_TRUE(results);
  EXPECT_EQ(sums.script.calls[1].rows.size(), 12u);
  std::vector<SampleLine> lines = scorer.LinesOf("exact", kExactPlan, (*results)[0]);
  const std::vector<SampleLine> others = scorer.LinesOf("KV2", kPlan2, (*results)[1]);
  lines.insert(lines.end(), others.begin(), others.end());
  log.Finish(lines);
  // The same as from one go.
  const std::string content = ReadFile(sums.samples());
  TaskScorer fresh(model, task, nullptr);
  const auto again = fresh.Score(plans, {});
  std::vector<SampleLine> expected = fresh.LinesOf("exact", kExactPlan, (*again)[0]);
  const std::vector<SampleLine> more = fresh.LinesOf("KV2", kPlan2, (*again)[1]);
  expected.insert(expected.end(), more.begin(), more.end());
  SampleLog(sums.samples(), "this one").Finish(expected);
  EXPECT_EQ(ReadFile(sums.samples()), content);
}

TEST(SampleLog, LinesSayWhatWasAskedAndAnswered) {
  Sums sums;
  const PreparedTask task = sums.Prepare();
  FakeModel model(FakeConfig(2), sums.script);
  TaskScorer scorer(model, task, nullptr);
  const auto results = scorer.Score(std::vector{kExactPlan, kPlan2}, {});
  SampleLog(sums.samples(), "e").Finish(scorer.LinesOf("two bits", kPlan2, (*results)[1]));
  const std::string content = ReadFile(sums.samples());
  const Json line = ParseJsonLine(content.substr(0, content.find('\n')), "first line");
  EXPECT_EQ(line["item"], 0);
  EXPECT_EQ(line["plan"], "two bits");
  EXPECT_EQ(line["spec"], "KV2");
  EXPECT_EQ(line["prompt"], "Please add one: what is 0 + 1?");
  EXPECT_EQ(line["generation"], "It is 1.\n");
  EXPECT_EQ(line["extracted"], "1");
  EXPECT_EQ(line["answer"], "1");
  EXPECT_EQ(line["correct"], true);
}

TEST(SampleLog, KeepsOnlyItsOwnLines) {
  Sums sums;
  const SampleLine line{.item = 3,
                        .plan = "KV4",
                        .spec = "KV4",
                        .prompt = "p",
                        .generated = {"text", 2},
                        .answer = "a"};
  SampleLog(sums.samples(), "other").Append(line);
  SampleLog log(sums.samples(), "mine");
  EXPECT_EQ(log.found(), 0u);
  EXPECT_EQ(ReadFile(sums.samples()), "");
  log.Append(line);
  WriteFileAtomically(sums.samples(), "somebody's own text\n" + ReadFile(sums.samples()));
  const SampleLog again(sums.samples(), "mine");
  ASSERT_NE(again.Find("KV4", 3), nullptr);
  EXPECT_EQ(again.Find("KV4", 3)->text, "text");
  EXPECT_EQ(again.Find("KV4", 3)->tokens, 2);
  EXPECT_EQ(again.Find("KV4", 2), nullptr);
  EXPECT_EQ(again.Find("KV8", 3), nullptr);
}

TEST(SampleLog, SortedItDoesNotTellWhichSequenceEndedFirst) {
  Sums sums;
  SampleLog log(sums.samples(), "mine");
  const auto line = [](const std::string& spec, size_t item) {
    return SampleLine{.item = item, .plan = spec, .spec = spec, .generated = {"text", 2}};
  };
  log.Sort();
  EXPECT_FALSE(std::filesystem::exists(sums.samples()));
  for (const auto& [spec, item] : {std::pair{"KV8", 1}, {"KV4", 10}, {"KV8", 0}, {"KV4", 9}}) {
    log.Append(line(spec, static_cast<size_t>(item)));
  }
  log.Sort();
  std::vector<std::string> order;
  std::istringstream content(ReadFile(sums.samples()));
  for (std::string text; std::getline(content, text);) {
    const Json json = ParseJsonLine(text, "line");
    order.push_back(json["spec"].get<std::string>() + " " + json["item"].dump());
  }
  EXPECT_THAT(order, ElementsAre("KV4 9", "KV4 10", "KV8 0", "KV8 1"));
}

TEST(PreparedTask, CountsWhatAllPromptsBeginWith) {
  const TemporaryDirectory folder;
  const auto prepare = [&](const std::vector<std::string>& prompts) {
    Json items = Json::array();
    for (const std::string& prompt : prompts)
      items.push_back({{"prompt", prompt}, {"answer", "1"}});
    WriteFileAtomically(folder / "task.json",
                        Json({{"protocol", "custom"}, {"items", items}}).dump());
    return std::make_unique<PreparedTask>(
        TaskOptions{.file = folder / "task.json", .overrides = {}}, kDemoModel,
        ReadConfigOf(kDemoModel));
  };
  std::string shots;
  for (int i = 0; i < 30; ++i)
    shots += "Q: what is " + std::to_string(i) + " + 1?\nA: " + std::to_string(i + 1) + "\n";
  const auto task = prepare({shots + "Q: what is 40 + 2?", shots + "R", shots + "Q: what of 40?"});
  const auto shared = static_cast<ptrdiff_t>(task->shared_tokens());
  EXPECT_GT(shared, 64);
  EXPECT_EQ(shared % 64, 0);
  const TokenIds& first = task->ids().front();
  for (const TokenIds& ids : task->ids()) {
    ASSERT_GT(std::ssize(ids), shared);
    EXPECT_TRUE(std::equal(first.begin(), first.begin() + shared, ids.begin()));
  }
  const TokenIds& other = task->ids()[1];
  EXPECT_NE(std::mismatch(first.begin(), first.end(), other.begin(), other.end()).first,
            first.end());
  EXPECT_LT(
      std::mismatch(first.begin(), first.end(), other.begin(), other.end()).first - first.begin(),
      shared + 64);
  EXPECT_EQ(prepare({shots})->shared_tokens(), 0);
  EXPECT_EQ(prepare({"What is 1 + 1?", "What is 1 + 2?"})->shared_tokens(), 0);
  // A prompt keeps at least a token of its own.
  const auto same = prepare({shots, shots});
  EXPECT_LT(same->shared_tokens(), std::ssize(same->ids().front()));
}

// The model is told, for all items of the task, also where it is asked about some of them.
TEST(TaskScorer, TellsTheModelWhatAllPromptsBeginWith) {
  const TemporaryDirectory folder;
  std::string shots;
  for (int i = 0; i < 30; ++i) shots += "Please add one to " + std::to_string(i) + ". ";
  Json items = Json::array();
  for (int i = 0; i < 3; ++i)
    items.push_back({{"prompt", shots + "What is " + std::to_string(i) + " + 1?"},
                     {"answer", std::to_string(i + 1)}});
  WriteFileAtomically(folder / "task.json",
                      Json({{"protocol", "custom"}, {"items", items}}).dump());
  const PreparedTask task({.file = folder / "task.json", .overrides = {}}, kDemoModel,
                          ReadConfigOf(kDemoModel));
  ASSERT_GT(task.shared_tokens(), 0);
  FakeModelScript script;
  script.losses = {{1, 1}, 1};
  script.writes = [](const PrecisionPlan&, const TokenIds&) { return TokenIds{7}; };
  FakeModel model(FakeConfig(2), script);
  TaskScorer scorer(model, task, nullptr);
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kKV4, 2)};
  const std::vector<size_t> some = {1};
  ASSERT_TRUE(scorer.ScoreItems(plans, some, nullptr));
  EXPECT_EQ(script.calls.back().shared_tokens, task.shared_tokens());
}

// A folder with the demo model's tokenizer and what else the test writes.
class TokenizerFolder {
 public:
  TokenizerFolder() {
    std::filesystem::copy(kDemoModel / "tokenizer.json", path() / "tokenizer.json");
  }
  const fs::path& path() const { return folder_.path(); }
  void Write(const char* name, std::string_view text) const {
    WriteFileAtomically(path() / name, text);
  }
  PreparedTask Prepare(const ModelConfig& config = ReadConfigOf(kDemoModel)) const {
    return PreparedTask({.file = path() / "task.json", .overrides = {}}, path(), config);
  }

 private:
  TemporaryDirectory folder_;
};

constexpr std::string_view kOneSum =
    R"({"protocol": "custom", "items": [{"prompt": "What is 1 + 1?", "answer": "2"}]})";

TEST(PreparedTask, EndsMayBeWrittenInEveryWay) {
  const TokenizerFolder model;
  model.Write("task.json", kOneSum);
  EXPECT_EQ(model.Prepare().more_stops(), std::vector<std::string>{});
  EXPECT_EQ(model.Prepare().end_tokens(), std::vector<int32_t>{});
  // The file of the model serves where there is none of its generation.
  model.Write("config.json", R"({"eos_token_id": [7, 3, 7, "x"]})");
  EXPECT_EQ(model.Prepare().end_tokens(), (std::vector<int32_t>{3, 7}));
  model.Write("generation_config.json", R"({"eos_token_id": 5})");
  EXPECT_EQ(model.Prepare().end_tokens(), std::vector<int32_t>{5});
  for (const char* token :
       {R"("<|endoftext|>")", R"({"content": "<|endoftext|>", "lstrip": false})"}) {
    model.Write("tokenizer_config.json", std::string(R"({"eos_token": )") + token + "}");
    EXPECT_EQ(model.Prepare().more_stops(), std::vector<std::string>{"<|endoftext|>"}) << token;
    EXPECT_EQ(model.Prepare().end_tokens(), (std::vector<int32_t>{0, 5})) << token;
  }
  for (const char* none : {"null", "3", "[]", R"({"lstrip": false})", R"({"content": 3})"}) {
    model.Write("tokenizer_config.json", std::string(R"({"eos_token": )") + none + "}");
    EXPECT_EQ(model.Prepare().more_stops(), std::vector<std::string>{}) << none;
  }
}

TEST(PreparedTask, CutPromptsAreCounted) {
  const TokenizerFolder model;
  model.Write("task.json", R"({"name": "t", "protocol": "custom", "max_new_tokens": 20, "items": [
      {"prompt": "What is 1 + 1? And what is 2 + 2?", "answer": "2"},
      {"prompt": "1", "answer": "1"}]})");
  ModelConfig config = ReadConfigOf(kDemoModel);
  const auto said = [&](int64_t context) {
    config.max_position_embeddings = context;
    SetLogLevel(LogLevel::kNormal);
    ::testing::internal::CaptureStderr();
    model.Prepare(config);
    SetLogLevel(LogLevel::kQuiet);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(said(24), HasSubstr("task t: 1 of 2 prompts were cut on the left, so that 20 new "
                                  "tokens fit into the model's context of 24"));
  EXPECT_EQ(said(1000), "");
}

TEST(PreparedTask, ChoicesHaveToFit) {
  const TokenizerFolder model;
  model.Write("task.json", R"({"name": "t", "protocol": "multiple_choice", "items": [
      {"prompt": "Why?", "choices": ["a", "b"], "answer": 0},
      {"prompt": "Why?", "choices": ["a", "because of everything else"], "answer": 0}]})");
  ModelConfig config = ReadConfigOf(kDemoModel);
  const PreparedTask whole = model.Prepare(config);
  const auto longest = static_cast<int64_t>(whole.choices().back().scored_ids);
  ASSERT_GT(longest, 3);
  // One token of the context says what follows, and nothing follows the last token.
  config.max_position_embeddings = longest;
  const PreparedTask cut = model.Prepare(config);
  EXPECT_EQ(std::ssize(cut.choices().back().ids), longest + 1);
  config.max_position_embeddings = longest - 1;
  EXPECT_THAT(
      [&] { model.Prepare(config); },
      ThrowsMessage<Error>(HasSubstr(
          "task \"t\", item 2: found a choice of " + std::to_string(longest) +
          " tokens, expected at most the model's context of " + std::to_string(longest - 1))));
}

// A copy of the demo model whose tokenizer puts <|endoftext|> (0) in front of a text.
struct ModelWithFirstToken {
  ModelWithFirstToken() {
    Json tokenizer = ParseJson(ReadFile(kDemoModel / "tokenizer.json"), "tokenizer.json");
    const Json first = {{"SpecialToken", {{"id", "<|endoftext|>"}, {"type_id", 0}}}};
    const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
    tokenizer["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single", {first, text}},
        {"pair", Json::array()},
        {"special_tokens",
         {{"<|endoftext|>",
           {{"id", "<|endoftext|>"}, {"ids", {0}}, {"tokens", {"<|endoftext|>"}}}}}}};
    WriteFileAtomically(folder / "tokenizer.json", tokenizer.dump());
    WriteFileAtomically(folder / "tokenizer_config.json", R"({"bos_token": "<|endoftext|>"})");
    std::filesystem::copy(kDemoModel / "config.json", folder / "config.json");
  }
  PreparedTask Prepare(const char* task) const {
    WriteFileAtomically(folder / "task.json", task);
    return PreparedTask({.file = folder / "task.json", .overrides = {}}, folder.path(),
                        ReadConfigOf(kDemoModel));
  }

  TemporaryDirectory folder;
};

// A chat template writes the token that texts begin with, and so may the author of a task.
TEST(PreparedTask, TheFirstTokenIsNotAddedTwice) {
  const PreparedTask task = ModelWithFirstToken().Prepare(R"({"protocol": "custom", "items": [
      {"prompt": "What is 1 + 1?", "answer": "2"},
      {"prompt": "<|endoftext|>What is 1 + 1?", "answer": "2"}]})");
  const Tokenizer plain = Tokenizer::FromFile(kDemoModel / "tokenizer.json");
  TokenIds expected = plain.Encode("What is 1 + 1?", SpecialTokens::kOmit);
  expected.insert(expected.begin(), 0);
  EXPECT_EQ(task.ids()[0], expected);
  EXPECT_EQ(task.ids()[1], expected);
}

TEST(PreparedTask, ChoicesHaveOneFirstTokenToo) {
  const ModelWithFirstToken model;
  const PreparedTask task = model.Prepare(R"({"protocol": "multiple_choice", "items": [
      {"prompt": "Why?", "choices": ["a", "b"], "answer": 0},
      {"prompt": "<|endoftext|>Why?", "choices": ["a", "b"], "answer": 0}]})");
  ASSERT_EQ(task.choices().size(), 4u);
  for (const size_t choice : {0, 1}) {
    EXPECT_EQ(task.choices()[choice].ids.front(), 0);
    EXPECT_NE(task.choices()[choice].ids[1], 0);
    EXPECT_EQ(task.choices()[choice].ids, task.choices()[choice + 2].ids);
    EXPECT_EQ(task.choices()[choice].scored_ids, task.choices()[choice + 2].scored_ids);
  }
}

// Without a prompt a choice follows the token that texts begin with, or that they end with.
TEST(PreparedTask, ChoicesOfAnEmptyPromptAreScoredWhole) {
  constexpr char kTask[] = R"({"protocol": "multiple_choice", "items": [
      {"prompt": "", "choices": ["the", "a green cat"], "answer": 0}]})";
  const Tokenizer plain = Tokenizer::FromFile(kDemoModel / "tokenizer.json");
  TokenIds expected = plain.Encode(" a green cat", SpecialTokens::kOmit);
  const size_t scored = expected.size();
  expected.insert(expected.begin(), 0);
  const PreparedTask with_bos = ModelWithFirstToken().Prepare(kTask);
  EXPECT_EQ(with_bos.choices()[1].ids, expected);
  EXPECT_EQ(with_bos.choices()[1].scored_ids, scored);
  const TokenizerFolder model;
  model.Write("tokenizer_config.json", R"({"eos_token": "<|endoftext|>"})");
  model.Write("task.json", kTask);
  const PreparedTask with_eos = model.Prepare(ReadConfigOf(kDemoModel));
  EXPECT_EQ(with_eos.choices()[1].ids, expected);
  EXPECT_EQ(with_eos.choices()[0].scored_ids, plain.Encode(" the", SpecialTokens::kOmit).size());
}

TEST(PreparedTask, KnowsWhereTextsEnd) {
  Sums sums;
  const PreparedTask task = sums.Prepare();
  EXPECT_EQ(task.end_tokens(), std::vector<int32_t>{0});  // of generation_config.json
  EXPECT_EQ(task.more_stops(), std::vector<std::string>{"<|endoftext|>"});
  const auto holds = [&](const std::string& text) {
    return task.stops().AreIn(sums.tokenizer.Encode(text, SpecialTokens::kOmit));
  };
  // As many tokens as the longest stop has bytes, and eight more.
  EXPECT_EQ(task.stops().newest_tokens, std::string("<|endoftext|>").size() + 8);
  EXPECT_FALSE(holds("It is 5."));
  EXPECT_TRUE(holds("It is 5.\n"));
  EXPECT_TRUE(holds("It is 5.\nQ"));
  EXPECT_TRUE(holds("end<|endoftext|>"));
  // Special tokens are no part of a text.
  EXPECT_EQ(task.TextOf(std::vector<int32_t>{0}), "");
}

TEST(PreparedTask, PromptsAreCutOnTheLeft) {
  Sums sums;
  ModelConfig config = ReadConfigOf(kDemoModel);
  config.max_position_embeddings = 24;
  const PreparedTask task({.file = sums.file(), .overrides = {}}, kDemoModel, config);
  ASSERT_EQ(task.ids()[0].size(), 4u);  // 24 minus the 20 new tokens
  EXPECT_THAT("Please add one: what is 0 + 1?", HasSubstr(task.TextOf(task.ids()[0])));
  EXPECT_TRUE(task.TextOf(task.ids()[0]).ends_with("1?"));
  config.max_position_embeddings = 20;
  EXPECT_THAT([&] { PreparedTask({.file = sums.file(), .overrides = {}}, kDemoModel, config); },
              ThrowsMessage<Error>(HasSubstr(
                  "found 20 new tokens at most, expected fewer than the model's context of 20")));
}

TEST(PreparedTask, ItemsAmongThePromptsAreRefused) {
  Sums sums;
  const PreparedTask task = sums.Prepare();
  const auto ids = [&](const std::string& text) {
    return sums.tokenizer.Encode(text, SpecialTokens::kOmit);
  };
  task.RequireApartFrom(std::vector<TokenIds>{ids("Please add one: what is 9 + 1? It is 10.")},
                        "calibration");
  EXPECT_THAT(
      [&] {
        task.RequireApartFrom(
            std::vector<TokenIds>{ids("Hello."), ids("Q: Please add one: what is 2 + 1?\nA: 3")},
            "calibration");
      },
      ThrowsMessage<Error>(
          HasSubstr("task \"sums\": found its item 3 among the calibration prompts")));
}

TEST(PreparedTask, TheHashFollowsWhatIsGenerated) {
  const Sums sums;
  const std::string hash = sums.Prepare().hash();
  EXPECT_EQ(Sums().Prepare().hash(), hash);
  std::string text = ReadFile(sums.file());
  text.replace(text.find("\"max_new_tokens\": 20"), 20, "\"max_new_tokens\": 21");
  WriteFileAtomically(sums.file(), text);
  EXPECT_NE(sums.Prepare().hash(), hash);
}

TEST(PreparedTask, ChoicesNeedQuantizedPrompts) {
  const Sums sums;
  EXPECT_NO_THROW(sums.Prepare().RequireThatPlansAreRead(PrefillMode::kExact));
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "task.json", R"({"protocol": "multiple_choice", "items": [
      {"prompt": "The sky is", "choices": ["blue", "green"], "answer": 0}]})");
  const PreparedTask choices({.file = folder / "task.json", .overrides = {}}, kDemoModel,
                             ReadConfigOf(kDemoModel));
  EXPECT_NO_THROW(choices.RequireThatPlansAreRead(PrefillMode::kQuantized));
  EXPECT_THAT([&] { choices.RequireThatPlansAreRead(PrefillMode::kExact); },
              ThrowsMessage<Error>(HasSubstr("found multiple choice with --prefill exact")));
}

// The choices of an item share a context; what is scored is the choice alone.
TEST(TaskScorer, ChoicesAreScoredByTheirOwnTokens) {
  TemporaryDirectory folder;
  WriteFileAtomically(folder / "task.json", R"({"protocol": "multiple_choice", "items": [
      {"prompt": "The sky is ", "choices": ["blue", "a green cat"], "answer": 0}]})");
  const PreparedTask task({.file = folder / "task.json", .overrides = {}}, kDemoModel,
                          ReadConfigOf(kDemoModel));
  ASSERT_EQ(task.choices().size(), 2u);
  const Tokenizer tokenizer = Tokenizer::FromFile(kDemoModel / "tokenizer.json");
  const auto tail = [&](const ChoiceSequence& choice) {
    return tokenizer.Decode(std::span(choice.ids).last(choice.scored_ids));
  };
  // The space at the end of the context belongs to the choice.
  EXPECT_EQ(tail(task.choices()[0]), "  blue");
  EXPECT_EQ(tail(task.choices()[1]), "  a green cat");
}

// Under the exact plan every token is as likely as any other, so that the shortest choice is. Under
// any other plan the context alone is unlikely, and of a choice the last token, less so the longer
// the whole text is. The first token's loss, which is the context's, would turn both around.
class ModelOfChoices : public FakeModel {
 public:
  using FakeModel::FakeModel;
  std::vector<std::vector<PromptScore>> ScorePlans(std::span<const PrecisionPlan> plans,
                                                   std::span<const TokenIds> prompts,
                                                   const OnProgress& progress) override {
    auto scores = FakeModel::ScorePlans(plans, prompts, progress);
    for (size_t plan = 0; plan < plans.size(); ++plan) {
      for (size_t i = 0; i < prompts.size(); ++i) {
        const auto length = static_cast<float>(prompts[i].size());
        std::vector<float>& nll = scores[plan][i].token_nll;
        nll.assign(prompts[i].size() - 1, plans[plan].is_exact() ? 1.0F : 0.0F);
        nll.front() = plans[plan].is_exact() ? 1000 / length : 1000 * length;
        if (!plans[plan].is_exact()) nll.back() = 10 / length;
      }
    }
    return scores;
  }
};

TEST(TaskScorer, ChoicesOfTheItemsThatAreAskedForAreScored) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "task.json", R"({"protocol": "multiple_choice", "items": [
      {"prompt": "The sky is", "choices": ["blue", "a green cat"], "answer": 0},
      {"prompt": "A cat is", "choices": ["a", "not a dog"], "answer": 1},
      {"prompt": "Is it so?", "choices": ["perhaps it is not", "no"], "answer": 1}]})");
  const PreparedTask task({.file = folder / "task.json", .overrides = {}}, kDemoModel,
                          ReadConfigOf(kDemoModel));
  FakeModelScript script;
  script.losses = {{1, 1}, 1};
  ModelOfChoices model(FakeConfig(2), script);
  TaskScorer scorer(model, task, nullptr);
  const std::vector<PrecisionPlan> plans = {kExactPlan, kPlan2};
  const std::vector<size_t> some = {2, 0};
  const auto results = scorer.ScoreItems(plans, some, {});
  ASSERT_TRUE(results);
  const auto chosen = [](const std::vector<ItemResult>& of_plan) {
    std::vector<std::string> texts;
    for (const ItemResult& result : of_plan) texts.push_back(result.generated.text);
    return texts;
  };
  EXPECT_THAT(chosen(results->at(0)), ElementsAre("no", "blue"));
  EXPECT_THAT(chosen(results->at(1)), ElementsAre("perhaps it is not", "a green cat"));
  std::vector<TokenIds> expected;
  for (const size_t choice : {0u, 1u, 4u, 5u}) expected.push_back(task.choices()[choice].ids);
  EXPECT_EQ(script.calls.back().prompts, expected);

  const auto all = scorer.Score(plans, {});
  EXPECT_THAT(chosen(all->at(0)), ElementsAre("blue", "a", "no"));
  EXPECT_THAT(chosen(all->at(1)), ElementsAre("a green cat", "not a dog", "perhaps it is not"));
  const AccuracyScore score = SummarizeAccuracy(task.task(), all->at(1), all->at(0));
  EXPECT_DOUBLE_EQ(score.strict, 1.0 / 3);
  EXPECT_EQ(score.lost, 2);
  EXPECT_EQ(score.gained, 1);
  EXPECT_EQ(score.tokens, 0);
  const std::vector<SampleLine> lines = scorer.LinesOf("two bits", kPlan2, all->at(1));
  EXPECT_EQ(lines.at(1).answer, "not a dog");
  EXPECT_EQ(lines.at(1).correct, 1);
  EXPECT_EQ(lines.at(2).answer, "no");
  EXPECT_EQ(lines.at(2).correct, 0);
}

// Six items; the plan loses the last three and gains the first. It disagrees on two of three items,
// a point shows on n items where sqrt(n) * 0.01 = 1.96 sqrt(2/3) + 0.8416 sqrt(2/3 - 0.01^2).
TEST(TaskScorer, AnAccuracyIsSummedUpOverItsItems) {
  Task task;
  task.name = "six";
  const auto results_of = [](const std::vector<double>& strict, const std::string& extracted) {
    std::vector<ItemResult> results;
    for (const double score : strict) {
      ItemResult& result = results.emplace_back();
      result.generated.tokens = 3;
      result.grade.strict = score;
      result.grade.flexible = score / 2;
      result.grade.extracted = score == 1 ? "7" : extracted;
    }
    return results;
  };
  const std::vector<ItemResult> plan = results_of({1, 1, 1, 0, 0, 0}, std::string(kInvalidAnswer));
  const std::vector<ItemResult> exact = results_of({0, 1, 1, 1, 1, 1}, "8");
  const AccuracyScore score = SummarizeAccuracy(task, plan, exact);
  EXPECT_EQ(score.task, "six");
  EXPECT_EQ(score.items, 6);
  EXPECT_EQ(score.strict, 0.5);
  EXPECT_EQ(score.flexible, 0.25);
  EXPECT_DOUBLE_EQ(score.standard_error, std::sqrt(6 * 0.25 / 5 / 6));
  EXPECT_EQ(score.invalid, 3);
  EXPECT_EQ(score.tokens, 18);
  EXPECT_EQ(score.lost, 3);
  EXPECT_EQ(score.gained, 1);
  EXPECT_EQ(score.mcnemar_p, 0.625);  // 2 (1 + 4) / 2^4
  const double root =
      1.959963984540054 * std::sqrt(2.0 / 3) + 0.8416212335729143 * std::sqrt(2.0 / 3 - 0.0001);
  EXPECT_EQ(score.items_to_see_a_point, static_cast<int64_t>(std::ceil(1e4 * root * root)));
}

// A plan that finds one of two references less in every item loses every item.
TEST(TaskScorer, SharesOfReferencesAreLostInPart) {
  std::vector<ItemResult> plan(12), exact(12);
  for (size_t i = 0; i < plan.size(); ++i) {
    plan[i].grade.strict = 0;
    exact[i].grade.strict = i % 2 == 0 ? 0.5 : 0.75;
  }
  const AccuracyScore score = SummarizeAccuracy(Task(), plan, exact);
  EXPECT_EQ(score.lost, 12);
  EXPECT_LT(score.mcnemar_p, 1e-3);
  EXPECT_LT(score.difference.high, -0.5);
}

}  // namespace
}  // namespace kvtune
