#include "lib/tasks/task_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/tasks/task_prompts.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

namespace fs = std::filesystem;

Task Parse(const std::string& text, const TaskOverrides& overrides = {}) {
  return ParseTask(text, "task.json", overrides);
}

auto Fails(const std::string& message) { return ThrowsMessage<Error>(HasSubstr(message)); }

TEST(TaskFile, ACustomTaskSaysItAll) {
  const Task task = Parse(R"({"schema_version": 1, "name": "word problems", "protocol": "custom",
      "items": [{"prompt": "1+1=", "answer": "2", "solution": "ignored"},
                {"prompt": "2+1=", "answer": 3}],
      "stop": ["\n\n"], "max_new_tokens": 110, "extract": "#### *([^\\n]*)$", "which": "last"})");
  EXPECT_EQ(task.name, "word problems");
  EXPECT_EQ(task.protocol, Protocol::kCustom);
  EXPECT_THAT(task.stops, ElementsAre("\n\n"));
  EXPECT_EQ(task.max_new_tokens, 110);
  ASSERT_TRUE(task.strict);
  EXPECT_EQ(task.strict->pattern, "#### *([^\\n]*)$");
  EXPECT_EQ(task.strict->which, WhichMatch::kLast);
  ASSERT_EQ(task.items.size(), 2u);
  EXPECT_EQ(task.items[0].prompt, "1+1=");
  EXPECT_EQ(task.items[1].answer, "3");
}

TEST(TaskFile, ATemplateMakesPromptsOfKeys) {
  const Task task = Parse(R"({"protocol": "custom", "template": "{{Q}} {question} {n}\nA:",
      "items": [{"question": "why?", "n": 2, "answer": "so"}]})");
  EXPECT_EQ(task.items[0].prompt, "{Q} why? 2\nA:");
  EXPECT_EQ(task.name, "task");  // of the file
  // A brace that nothing closes or opens is a brace, the last character too.
  const auto prompt = [](const std::string& text) {
    return Parse(R"({"protocol": "custom", "items": [{"n": 2, "answer": "so"}], "template": ")" +
                 text + R"("})")
        .items[0]
        .prompt;
  };
  EXPECT_EQ(prompt("a} {n} {b"), "a} 2 {b");
  EXPECT_EQ(prompt("{n} {"), "2 {");
  EXPECT_EQ(prompt("{{{n}}}"), "{2}");
}

TEST(TaskFile, ProtocolsBringTheirRules) {
  const Task task = Parse(R"({"protocol": "gsm8k", "fewshot": 0,
      "items": [{"question": "q", "answer": "a\n#### 1"}]})");
  EXPECT_THAT(task.stops, ElementsAre("Question:", "</s>", "<|im_end|>"));
  EXPECT_EQ(task.max_new_tokens, 256);
  EXPECT_EQ(task.strict->pattern, "#### (\\-?[0-9\\.\\,]+)");
  EXPECT_EQ(task.items[0].answer, "a\n#### 1");
  EXPECT_EQ(TaskOfProtocol(Protocol::kGsm8k).fewshot, 5);
  EXPECT_EQ(TaskOfProtocol(Protocol::kGsm8kCot).fewshot, 8);
  EXPECT_EQ(TaskOfProtocol(Protocol::kVllmCi).fewshot, 5);
  EXPECT_EQ(TaskOfProtocol(Protocol::kContains).max_new_tokens, 128);
}

TEST(TaskFile, TheMaximumOfNewTokensIsWithinItsEnds) {
  const auto parse = [](const std::string& protocol, int64_t most) {
    return Parse(R"({"protocol": ")" + protocol + R"(", "max_new_tokens": )" +
                 std::to_string(most) +
                 R"(, "items": [{"prompt": "p", "choices": ["a", "b"], "answer": 0}]})");
  };
  constexpr int64_t kMost = int64_t{1} << 20;
  EXPECT_EQ(parse("custom", 1).max_new_tokens, 1);
  EXPECT_EQ(parse("custom", kMost).max_new_tokens, kMost);
  EXPECT_THAT([&] { parse("custom", kMost + 1); },
              Fails("\"max_new_tokens\": found 1048577, expected a number from 1 to 1048576"));
  EXPECT_THAT([&] { parse("custom", -1); }, Fails("\"max_new_tokens\": found -1"));
}

TEST(TaskFile, TheFirstItemsAreUsedWhereThereAreMore) {
  const auto count = [](int64_t limit) {
    const std::string item = R"({"prompt": "p", "answer": "a"})";
    return Parse(R"({"protocol": "custom", "items": [)" + item + "," + item + "," + item + "]}",
                 {.limit = limit, .fewshot = {}})
        .items.size();
  };
  EXPECT_EQ(count(0), 3u);
  EXPECT_EQ(count(1), 1u);
  EXPECT_EQ(count(3), 3u);
  EXPECT_EQ(count(4), 3u);
}

TEST(TaskFile, FilesStandBesideTheTask) {
  const TemporaryDirectory directory;
  fs::create_directory(directory.path() / "data");
  WriteFileAtomically(directory.path() / "data/test.jsonl",
                      "\xef\xbb\xbf{\"question\": \"q\", \"answer\": \"#### 1\"}\n\n"
                      "{\"question\": \"r\", \"answer\": \"#### 2\"}\n");
  WriteFileAtomically(directory.path() / "data/train.json",
                      R"([{"question": "s", "answer": "b"}, {"question": "t", "answer": "c"}])");
  WriteFileAtomically(directory.path() / "task.json",
                      R"({"protocol": "vllm-ci", "items": "data/test.jsonl",
                          "shots": "data/train.json", "fewshot": 2})");
  const Task task = LoadTask(directory.path() / "task.json");
  EXPECT_EQ(task.items.size(), 2u);
  EXPECT_EQ(TaskPrompts(task)[1],
            "Question: s\nAnswer: b\n\nQuestion: t\nAnswer: c\n\nQuestion: r\nAnswer:");
  EXPECT_EQ(LoadTask(directory.path() / "task.json", {.limit = 1, .fewshot = 0}).items.size(), 1u);
  EXPECT_EQ(TaskPrompts(LoadTask(directory.path() / "task.json", {.fewshot = 0}))[0],
            "Question: q\nAnswer:");
}

TEST(TaskFile, CotShotsMayBeAText) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory.path() / "shots.txt",
                      "Q: a\nA: The answer is 1.\n\nQ: b\nA: The answer is 2.\n");
  const auto parse = [&](const std::string& more) {
    return ParseTask(R"({"protocol": "gsm8k_cot", "shots": "shots.txt", "items":
        [{"question": "q", "answer": "x\n#### 5"}])" +
                         more + "}",
                     directory.path() / "t.json");
  };
  const Task task = parse("");
  EXPECT_EQ(task.fewshot, 2);
  EXPECT_EQ(task.items[0].answer, "5");
  EXPECT_EQ(TaskPrompts(task)[0],
            "Q: a\nA: The answer is 1.\n\nQ: b\nA: The answer is 2.\n\nQ: q\nA:");
  EXPECT_THAT([&] { parse(R"(, "fewshot": 1)"); },
              Fails("found a text of 2 shots, expected 1 as \"fewshot\" says"));
  EXPECT_EQ(parse(R"(, "fewshot": 2)").fewshot, 2);
  EXPECT_EQ(TaskPrompts(parse(R"(, "fewshot": 0)"))[0], "Q: q\nA:");
  // Lines in front of the first question are used as they stand, and are no question. A byte order
  // mark is no part of the text.
  WriteFileAtomically(directory.path() / "shots.txt",
                      "\xef\xbb\xbfSolve them.\n\nQ: a\nA: The answer is 1.\n");
  EXPECT_EQ(parse("").fewshot, 1);
  EXPECT_EQ(TaskPrompts(parse(""))[0], "Solve them.\n\nQ: a\nA: The answer is 1.\n\nQ: q\nA:");
  WriteFileAtomically(directory.path() / "shots.txt", "nothing\n");
  EXPECT_THAT([&] { parse(""); }, Fails("found no line that begins with \"Q: \""));
}

TEST(TaskFile, DataSetsAreTasksAsTheyAre) {
  const std::string gsm8k = R"({"question": "q", "answer": "#### 1"})"
                            "\n"
                            R"({"question": "r", "answer": "#### 2"})"
                            "\n";
  EXPECT_EQ(ParseTask(gsm8k, "test.jsonl", {.fewshot = 0}).protocol, Protocol::kGsm8k);
  EXPECT_EQ(ParseTask(gsm8k, "test.jsonl", {.fewshot = 0}).items.size(), 2u);
  EXPECT_EQ(ParseTask(gsm8k, "test.json", {.fewshot = 0}).name, "test");
  const Task ruler =
      Parse(R"([{"index": 0, "input": "haystack", "outputs": ["needle"], "length": 9}])");
  EXPECT_EQ(ruler.protocol, Protocol::kContains);
  EXPECT_EQ(ruler.items[0].prompt, "haystack");
  EXPECT_THAT(ruler.items[0].references, ElementsAre("needle"));
  EXPECT_EQ(Parse(R"([{"prompt": "p", "references": ["r"]}])").protocol, Protocol::kContains);
  EXPECT_EQ(Parse(R"([{"prompt": "p", "choices": ["a", "b"], "answer": 1}])").protocol,
            Protocol::kMultipleChoice);
  const Task sample = Parse(R"({"doc_id": 0, "doc": {"question": "q", "answer": "#### 1"},
      "target": "#### 1", "arguments": {"gen_args_0": {"arg_0": "P"}}})",
                            {.fewshot = 0});
  EXPECT_EQ(sample.protocol, Protocol::kGsm8k);
  EXPECT_EQ(sample.items[0].prompt, "q");
}

TEST(TaskFile, SamplesOfTheHarnessKeepTheirPrompt) {
  const Task task = Parse(R"({"protocol": "custom", "items": [
      {"doc": {"x": 1}, "target": "1", "arguments": {"gen_args_0": {"arg_0": "P"}}},
      {"doc": {"x": 2}, "target": "2", "arguments": [["R", {"until": []}]]}]})");
  EXPECT_EQ(task.items[0].prompt, "P");
  EXPECT_EQ(task.items[1].prompt, "R");
  EXPECT_EQ(task.items[1].answer, "2");
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "items": [{"doc": {}, "target": "1"}]})"); },
              Fails("\"arguments\": found no prompt, expected that of a sample"));
}

// The harness logs a document once for each of its filters.
TEST(TaskFile, SamplesOfTheHarnessAreThoseOfOneFilter) {
  const auto line = [](int document, const std::string& filter) {
    return R"({"doc_id": )" + std::to_string(document) + R"(, "doc": {"question": "q)" +
           std::to_string(document) + R"(", "answer": "#### 1"}, "filter": ")" + filter + "\"}\n";
  };
  const Task task = Parse(line(0, "strict-match") + line(1, "strict-match") +
                              line(0, "flexible-extract") + line(1, "flexible-extract"),
                          {.fewshot = 0});
  ASSERT_EQ(task.items.size(), 2u);
  EXPECT_EQ(task.items[1].prompt, "q1");
}

TEST(TaskFile, ChoicesHaveARightOne) {
  const auto parse = [](const std::string& item) {
    return Parse(R"({"protocol": "multiple_choice", "items": [)" + item + "]}");
  };
  EXPECT_EQ(parse(R"({"prompt": "p", "choices": ["a", "b"], "answer": 1})").items[0].correct_choice,
            1u);
  EXPECT_THAT([&] { parse(R"({"prompt": "p", "choices": ["a", "b"], "answer": 2})"); },
              Fails("\"answer\": found 2, expected the index of one of the 2 choices"));
  EXPECT_THAT([&] { parse(R"({"prompt": "p", "choices": ["a", "b"], "answer": -1})"); },
              Fails("\"answer\": found -1, expected the index of one of the 2 choices"));
  EXPECT_EQ(parse(R"({"prompt": "p", "choices": ["a", "b"], "answer": 0})").items[0].correct_choice,
            0u);
  EXPECT_THAT([&] { parse(R"({"prompt": "p", "choices": ["a"], "answer": 0})"); },
              Fails("\"choices\": found 1, expected at least 2"));
  EXPECT_THAT([&] { parse(R"({"prompt": "p", "choices": ["a", ""], "answer": 0})"); },
              Fails("\"choices\": found an empty one, expected texts"));
}

TEST(TaskFile, MistakesAreNamed) {
  EXPECT_THAT([] { Parse(R"({"protocol": "gsm9k", "items": []})"); },
              Fails("task.json: \"protocol\": found \"gsm9k\", expected one of gsm8k, gsm8k_cot"));
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "items": []})"); },
              Fails("task task.json: found no items, expected some"));
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "items": [{"prompt": "p"}]})"); },
              Fails("\"items\", entry 1: \"answer\": found nothing"));
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "items": [{"answer": "p"}]})"); },
              Fails("\"prompt\": found nothing"));
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "items": 3})"); },
              Fails("\"items\": found no array, expected one of objects"));
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "item": [], "items": []})"); },
              Fails("\"item\""));
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "items": [{"prompt": "p", "answer": [1]}]})"); },
              Fails("\"answer\": found [1], expected a text"));
  EXPECT_THAT([] { Parse(R"({"schema_version": 2, "protocol": "custom", "items": []})"); },
              Fails("\"schema_version\": found 2, expected 1"));
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "items": [], "which": "last"})"); },
              Fails("\"which\": found it without \"extract\", expected both"));
  EXPECT_THAT(
      [] { Parse(R"({"protocol": "custom", "items": [], "extract": "x", "which": "all"})"); },
      Fails("\"which\": found \"all\", expected one of first, last"));
  EXPECT_THAT([] { Parse(R"({"protocol": "custom", "items": [], "max_new_tokens": 0})"); },
              Fails("\"max_new_tokens\": found 0, expected a number from 1"));
  EXPECT_THAT(
      [] { Parse(R"({"protocol": "contains", "items": [{"prompt": "p", "references": []}]})"); },
      Fails("\"references\": found none, expected at least one"));
  EXPECT_THAT(
      [] {
        Parse(R"({"protocol": "contains", "items": [{"prompt": "p", "references": ["a", ""]}]})");
      },
      Fails("\"references\": found an empty one, expected texts"));
  EXPECT_THAT([] { Parse(R"({"protocol": "gsm8k", "fewshot": -1, "items": []})"); },
              Fails("\"fewshot\": found -1, expected 0 or more"));
  EXPECT_THAT([] { Parse("[{\"text\": \"a prompt\"}]"); },
              Fails("task.json, entry 1: found a row of no known data set"));
  EXPECT_THAT([] { Parse("{\"protocol\": "); }, Fails("not valid JSON"));
}

// Blank lines are none, but they count.
TEST(TaskFile, MistakesInLinesAreNamedByTheirNumber) {
  const std::string row = R"({"question": "q", "answer": "#### 1"})";
  EXPECT_THAT([&] { Parse(row + "\n\n" + row + "\n{\"question\": \"r\"}\n", {.fewshot = 0}); },
              Fails("task.json, line 4: \"answer\": found nothing"));
}

// What stands behind the mark, without spaces; the whole answer where there is no mark.
TEST(TaskFile, AnswersOfCotAreBehindTheirMark) {
  const auto answer = [](const std::string& text) {
    return Parse(R"({"protocol": "gsm8k_cot", "items": [{"question": "q", "answer": ")" + text +
                     R"("}]})",
                 {.fewshot = 0})
        .items[0]
        .answer;
  };
  EXPECT_EQ(answer("1 + 1\\n####  2 \\n"), "2");
  EXPECT_EQ(answer("#### 1 #### x y"), "x y");
  EXPECT_EQ(answer("####3"), "3");
  EXPECT_EQ(answer("####"), "");
  EXPECT_EQ(answer("#### \\n"), "");
  EXPECT_EQ(answer(" 7 "), " 7 ");
}

// Rows of the training data have an "answer", solved questions of the harness a "target".
TEST(TaskFile, ShotsHaveATargetOrAnAnswer) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory.path() / "shots.json",
                      R"([{"question": "s", "target": "so #### 1", "answer": "other"},
                          {"question": "t", "answer": "since\n#### 2"}])");
  const auto prompt = [&](const std::string& protocol) {
    return TaskPrompts(ParseTask(R"({"protocol": ")" + protocol +
                                     R"(", "shots": "shots.json", "fewshot": 2,
                                      "items": [{"question": "q", "answer": "#### 1"}]})",
                                 directory.path() / "t.json"))[0];
  };
  EXPECT_EQ(prompt("gsm8k_cot"), "Q: s\nA: so #### 1\n\nQ: t\nA: 2\n\nQ: q\nA:");
  EXPECT_EQ(prompt("vllm-ci"),
            "Question: s\nAnswer: so #### 1\n\nQuestion: t\nAnswer: since\n#### 2\n\n"
            "Question: q\nAnswer:");
}

TEST(TaskFile, ShotsAreEnoughAndNotTheItems) {
  const std::string rows = R"([{"question": "q", "answer": "#### 1"}])";
  EXPECT_THAT([&] { Parse(rows); }, Fails("task task.json: found 0 shots, expected at least 5"));
  EXPECT_EQ(Parse(rows, {.fewshot = 0}).items.size(), 1u);
  EXPECT_THAT(
      [] {
        Parse(R"({"protocol": "custom", "items": [{"prompt": "p", "answer": "a"}]})",
              {.fewshot = 1});
      },
      Fails("found --fewshot 1, expected none: prompts of custom are complete"));
  const TemporaryDirectory directory;
  WriteFileAtomically(directory.path() / "train.jsonl", R"({"question": "q", "answer": "b"})");
  const auto parse_with_shots = [&](int64_t fewshot) {
    return ParseTask(R"({"protocol": "gsm8k", "shots": "train.jsonl", "fewshot": 1,
                     "items": [{"question": "p", "answer": "#### 1"},
                               {"question": "q", "answer": "#### 1"}]})",
                     directory.path() / "t.json", {.fewshot = fewshot});
  };
  EXPECT_THAT([&] { parse_with_shots(1); },
              Fails("found item 2 among the shots, expected other questions there"));
  // Shots that are not shown give no answer away.
  EXPECT_EQ(parse_with_shots(0).items.size(), 2u);
  // Nor do prompts that are complete mind to be told that they have none.
  EXPECT_EQ(
      Parse(R"({"protocol": "custom", "items": [{"prompt": "p", "answer": "a"}]})", {.fewshot = 0})
          .items.size(),
      1u);
}

// The task of the reference model and the published files of GSM8K and RULER, where they exist.
TEST(TaskFile, RealFilesAreRead) {
  const fs::path shared = KVTUNE_SHARED_DATA_DIR;
  if (!fs::exists(shared)) GTEST_SKIP() << shared << " does not exist";
  const Task words = ParseTask(R"({"protocol": "custom", "items": "task_test.json"})",
                               shared / "models/ref-llama/task.json");
  EXPECT_EQ(words.items.size(), 400u);
  const Task gsm8k =
      ParseTask(R"({"protocol": "gsm8k", "items": "test.jsonl", "shots": "train.jsonl"})",
                shared / "prompts/gsm8k/task.json");
  EXPECT_EQ(gsm8k.items.size(), 1319u);
  EXPECT_THAT(DrawShots(gsm8k)[1], ElementsAre(7462, 6610, 4769, 286, 5501));
  const Task cot = ParseTask(
      R"({"protocol": "gsm8k_cot", "items": "test.jsonl", "shots": "gsm8k_cot_8shot.txt"})",
      shared / "prompts/gsm8k/task.json");
  EXPECT_EQ(cot.fewshot, 8);
  EXPECT_EQ(LoadTask(shared / "prompts/ruler/niah_multikey_3_4096.jsonl").items.size(), 40u);
}

}  // namespace
}  // namespace kvtune
