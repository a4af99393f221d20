#include "lib/tasks/grading.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <string>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Grade Judge(const Task& task, const std::string& generation, const std::string& answer) {
  return Grader(task).Judge({.prompt = "q", .answer = answer}, generation);
}

Task Gsm8k() { return TaskOfProtocol(Protocol::kGsm8k); }

TEST(CutAtStops, TakesTheStopsOneAfterAnother) {
  const std::vector<std::string> stops = {"Question:", "</s>"};
  EXPECT_EQ(CutAtStops("4 </s> Question: 5", stops), "4 ");
  EXPECT_EQ(CutAtStops("4", stops), "4");
  EXPECT_EQ(CutAtStops("", stops), "");
  EXPECT_EQ(CutAtStops("text", std::vector<std::string>{""}), "text");
}

// What Python's four re.sub leave, in this order: "," "\$" "(?s).*#### " "\.$".
TEST(NormalizedNumber, RemovesWhatTheHarnessIgnores) {
  EXPECT_EQ(NormalizedNumber("So 3\n#### 1,234"), "1234");
  EXPECT_EQ(NormalizedNumber("$20.50."), "20.50");
  EXPECT_EQ(NormalizedNumber("#### 1 #### 2."), "2");
  EXPECT_EQ(NormalizedNumber("5.."), "5.");
  EXPECT_EQ(NormalizedNumber("5.\n"), "5\n");
  EXPECT_EQ(NormalizedNumber("[INVALID]"), "[invalid]");
  EXPECT_EQ(NormalizedNumber("####7"), "####7");
  EXPECT_EQ(NormalizedNumber(""), "");
  EXPECT_EQ(NormalizedNumber("."), "");
  EXPECT_EQ(NormalizedNumber("\n"), "\n");
  EXPECT_EQ(NormalizedNumber("5.\n\n"), "5.\n\n");
}

TEST(Gsm8kGrade, StrictTakesTheFirstMarkedNumber) {
  const Grade grade =
      Judge(Gsm8k(), " 2+2 = 4\n#### 4\n#### 5\n\nQuestion: next? #### 6", "x\n#### 4");
  EXPECT_EQ(grade.text, " 2+2 = 4\n#### 4\n#### 5\n\n");
  EXPECT_EQ(grade.extracted, "4");
  EXPECT_EQ(grade.strict, 1);
  // The last number of the text.
  EXPECT_EQ(grade.flexible_extracted, "5");
  EXPECT_EQ(grade.flexible, 0);
}

TEST(Gsm8kGrade, NumbersAreComparedWithoutTheirDress) {
  EXPECT_EQ(Judge(Gsm8k(), "#### 1,234.", "#### 1234").strict, 1);
  EXPECT_EQ(Judge(Gsm8k(), "It costs $20.50.", "#### 20.50").flexible, 1);
  EXPECT_EQ(Judge(Gsm8k(), "It costs $20.50.", "#### 20.50").strict, 0);
  EXPECT_EQ(Judge(Gsm8k(), "#### -3", "#### -3").strict, 1);
}

TEST(Gsm8kGrade, WithoutANumberItIsInvalid) {
  const Grade grade = Judge(Gsm8k(), "I do not know", "#### 4");
  EXPECT_EQ(grade.extracted, kInvalidAnswer);
  EXPECT_EQ(grade.flexible_extracted, kInvalidAnswer);
  EXPECT_TRUE(grade.is_invalid());
  EXPECT_FALSE(grade.correct());
  // A stop in front of everything leaves nothing.
  EXPECT_TRUE(Judge(Gsm8k(), "Question: #### 4", "#### 4").is_invalid());
}

// findall of the flexible pattern gives [("5.", "")], [("1,000", ""), ("$20.50.", "")],
// [("", "-3")], [("...", "")] in CPython.
TEST(Gsm8kGrade, FlexibleTakesTheFirstGroupThatIsNotEmpty) {
  const auto flexible = [](const std::string& text) {
    return Judge(Gsm8k(), text, "0").flexible_extracted;
  };
  EXPECT_EQ(flexible("It is 5."), "5.");
  EXPECT_EQ(flexible("a 1,000 b $20.50. c"), "$20.50.");
  EXPECT_EQ(flexible("x-3"), "-3");
  EXPECT_EQ(flexible("ends with ..."), "...");
  EXPECT_EQ(flexible("1 2 3"), "3");
  EXPECT_EQ(flexible("$"), kInvalidAnswer);
}

TEST(Gsm8kCotGrade, ReadsTheAnswerSentence) {
  const Task task = TaskOfProtocol(Protocol::kGsm8kCot);
  // The pattern wants one more character behind the number, and takes it from the number if it
  // must.
  EXPECT_EQ(Judge(task, "So 5 - 3 = 2. The answer is 2.\n\nQ: x", "2").extracted, "2");
  EXPECT_EQ(Judge(task, "So 5 - 3 = 2. The answer is 2.\n\nQ: x", "2").strict, 1);
  EXPECT_EQ(Judge(task, "The answer is 12", "12").extracted, "1");
  EXPECT_EQ(Judge(task, "The answer is 12", "12").strict, 0);
  EXPECT_EQ(Judge(task, "The answer is 12", "12").flexible, 1);
}

TEST(VllmCiGrade, TakesTheLastIntegerWithoutCommas) {
  const Task task = TaskOfProtocol(Protocol::kVllmCi);
  EXPECT_EQ(Judge(task, "1,000 and 2,500\nQuestion 7", "#### 2,500").extracted, "2500");
  EXPECT_TRUE(Judge(task, "1,000 and 2,500\nQuestion 7", "#### 2,500").correct());
  EXPECT_TRUE(Judge(task, "3.5", "#### 5").correct());  // \d+ sees two numbers
  EXPECT_TRUE(Judge(task, "-5", "#### 5").correct());   // and no sign
  // ast.literal_eval takes no leading zeros.
  EXPECT_TRUE(Judge(task, "007", "#### 7").is_invalid());
  EXPECT_FALSE(Judge(task, "007", "#### 7").correct());
  EXPECT_TRUE(Judge(task, "000", "#### 0").correct());
  EXPECT_TRUE(Judge(task, "none", "#### 7").is_invalid());
}

TEST(VllmCiGrade, EveryItemHasANumber) {
  Task task = TaskOfProtocol(Protocol::kVllmCi);
  task.name = "t";
  task.items = {{.prompt = "p", .answer = "#### 7"}, {.prompt = "q", .answer = "none"}};
  EXPECT_THAT([&] { Grader(task).Judge(task.items[0], "7"); },
              ThrowsMessage<Error>(HasSubstr("task \"t\", item 2: found the answer \"none\", "
                                             "expected one with a number")));
}

Task LastMarkedLine() {
  Task task = TaskOfProtocol(Protocol::kCustom);
  task.stops = {"\n\n"};
  task.strict = task.flexible = Extraction{"#### *([^\\n]*)$", WhichMatch::kLast};
  return task;
}

TEST(CustomGrade, ComparesTheStrippedGroup) {
  EXPECT_TRUE(Judge(LastMarkedLine(), " 1 + 1 = 2. #### 2 \n\nQ: #### 3", "2").correct());
  EXPECT_EQ(Judge(LastMarkedLine(), "####  Kim 7\xc2\xa0", "Kim 7").extracted, "Kim 7");
  // $ is the end of the text and not of a line.
  EXPECT_TRUE(Judge(LastMarkedLine(), "#### 2\nmore", "2").is_invalid());
  // It is also the place in front of the last line break.
  EXPECT_TRUE(Judge(LastMarkedLine(), "#### 2\n", "2").correct());
}

TEST(CustomGrade, WithoutAnExpressionTheTextIsTheAnswer) {
  const Task task = TaskOfProtocol(Protocol::kCustom);
  EXPECT_TRUE(Judge(task, " yes\n", "yes").correct());
  EXPECT_FALSE(Judge(task, "yes, it is", "yes").correct());
}

std::string Utf8(uint32_t code_point) {
  const auto byte = [](uint32_t bits) { return static_cast<char>(bits); };
  if (code_point < 0x80) return {byte(code_point)};
  const char last = byte(0x80 | (code_point & 0x3f));
  if (code_point < 0x800) return {byte(0xc0 | (code_point >> 6)), last};
  return {byte(0xe0 | (code_point >> 12)), byte(0x80 | ((code_point >> 6) & 0x3f)), last};
}

// [c for c in range(0xd800) if not chr(c).strip()] in CPython.
TEST(CustomGrade, SpacesAreThoseOfPython) {
  std::set<uint32_t> spaces = {0x20, 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
  for (uint32_t c = 0x09; c <= 0x0d; ++c) spaces.insert(c);
  for (uint32_t c = 0x1c; c <= 0x1f; ++c) spaces.insert(c);
  for (uint32_t c = 0x2000; c <= 0x200a; ++c) spaces.insert(c);
  const Task task = TaskOfProtocol(Protocol::kCustom);
  const Grader grader(task);
  for (uint32_t c = 0; c < 0xd800; ++c) {
    const std::string text = Utf8(c) + Utf8(c) + "x" + Utf8(c) + "x" + Utf8(c) + Utf8(c);
    const std::string inner = "x" + Utf8(c) + "x";
    EXPECT_EQ(grader.Judge({.prompt = "q"}, text).extracted, spaces.contains(c) ? inner : text)
        << c;
  }
  EXPECT_EQ(grader.Judge({.prompt = "q"}, " \xe3\x80\x80\n").extracted, "");
}

TEST(CustomGrade, EmptyMatchesAreFoundToo) {
  Task task = TaskOfProtocol(Protocol::kCustom);
  task.strict = task.flexible = Extraction{"x*", WhichMatch::kLast};
  EXPECT_EQ(Judge(task, "axxb\xc3\xa9", "").extracted, "");
  // Behind an empty match the next character is looked at.
  task.strict = Extraction{"(?=a)|(?=\xc3\xa9)|[0-9]+", WhichMatch::kLast};
  EXPECT_EQ(Judge(task, "a1", "").extracted, "1");
  EXPECT_EQ(Judge(task, "\xc3\xa9:2", "").extracted, "2");
  task.strict = Extraction{"(a)|(b)|c", WhichMatch::kFirst};
  EXPECT_EQ(Judge(task, "cab", "a").extracted, kInvalidAnswer);  // no group took part
  EXPECT_EQ(Judge(task, "bac", "b").extracted, "b");
  task.strict = Extraction{"c|(a)", WhichMatch::kFirst};
  EXPECT_EQ(Judge(task, "cab", "").extracted, "");  // of one group findall gives the empty text
}

TEST(CustomGrade, AnExpressionThatDoesNotCompileIsNamed) {
  Task task = TaskOfProtocol(Protocol::kCustom);
  task.name = "broken";
  task.strict = Extraction{"(a", WhichMatch::kFirst};
  EXPECT_THAT([&] { Grader grader(task); },
              ThrowsMessage<Error>(
                  HasSubstr("task \"broken\": \"extract\": found the regular expression \"(a\"")));
}

TEST(CustomGrade, AnExpressionThatNeverEndsIsGivenUp) {
  Task task = TaskOfProtocol(Protocol::kCustom);
  task.strict = Extraction{"(x+x+)+y", WhichMatch::kFirst};
  EXPECT_THAT([&] { Judge(task, std::string(60, 'x'), "y"); },
              ThrowsMessage<Error>(HasSubstr("looking for an answer at byte 0")));
}

TEST(ContainsGrade, IsTheShareOfReferences) {
  Task task = TaskOfProtocol(Protocol::kContains);
  const TaskItem item{.prompt = "p", .references = {"Alpha", "12"}};
  EXPECT_EQ(Grader(task).Judge(item, "alpha and 12").strict, 1);
  EXPECT_EQ(Grader(task).Judge(item, "ALPHA only").strict, 0.5);
  EXPECT_FALSE(Grader(task).Judge(item, "ALPHA only").correct());
  // A control character is a line break.
  EXPECT_EQ(Grader(task).Judge(item, "\x01 alpha\x02 1\x03").extracted, "alpha\n 1");
  task.reference_rule = ReferenceRule::kAny;
  EXPECT_EQ(Grader(task).Judge(item, "ALPHA only").strict, 1);
  EXPECT_EQ(Grader(task).Judge(item, "neither").strict, 0);
}

TEST(ChoiceGrade, TiesGoToTheFirstAndLengthIsCountedInCharacters) {
  const TaskItem item{.prompt = "p", .choices = {"\xc3\xa9", "long one", "b"}, .correct_choice = 1};
  const Grade grade = JudgeChoices(item, std::vector<double>{-2, -4, -2});
  EXPECT_EQ(grade.extracted, "\xc3\xa9");
  EXPECT_EQ(grade.strict, 0);
  // -2 / 1, -4 / 8, -2 / 1
  EXPECT_EQ(grade.flexible_extracted, "long one");
  EXPECT_EQ(grade.flexible, 1);
}

}  // namespace
}  // namespace kvtune
