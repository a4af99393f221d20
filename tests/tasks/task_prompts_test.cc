#include "lib/tasks/task_prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::ElementsAre;

Task WithShots(Protocol protocol, size_t shots, int64_t fewshot) {
  Task task = TaskOfProtocol(protocol);
  for (size_t i = 0; i < shots; ++i) {
    const std::string number = std::to_string(i);
    task.shots.push_back({"q" + number, "a" + number});
  }
  task.fewshot = fewshot;
  task.items = {{.prompt = "first?", .answer = "1"}, {.prompt = "second?", .answer = "2"}};
  return task;
}

TEST(TaskPrompts, Gsm8kDrawsShotsForEveryItem) {
  const Task task = WithShots(Protocol::kGsm8k, 7473, 4);
  EXPECT_THAT(DrawShots(task),
              ElementsAre(ElementsAre(6374, 3610, 957, 61), ElementsAre(742, 7462, 6610, 4769)));
  EXPECT_EQ(TaskPrompts(task)[0],
            "Question: q6374\nAnswer: a6374\n\nQuestion: q3610\nAnswer: a3610\n\n"
            "Question: q957\nAnswer: a957\n\nQuestion: q61\nAnswer: a61\n\n"
            "Question: first?\nAnswer:");
}

TEST(TaskPrompts, VllmCiTakesTheFirstShots) {
  const Task task = WithShots(Protocol::kVllmCi, 9, 2);
  EXPECT_EQ(TaskPrompts(task)[1],
            "Question: q0\nAnswer: a0\n\nQuestion: q1\nAnswer: a1\n\nQuestion: second?\nAnswer:");
}

TEST(TaskPrompts, CotHasItsOwnLabelsAndMayHaveItsShotsAsAText) {
  Task task = WithShots(Protocol::kGsm8kCot, 1, 1);
  EXPECT_EQ(TaskPrompts(task)[0], "Q: q0\nA: a0\n\nQ: first?\nA:");
  task.shot_text = "Q: x\nA: The answer is 1.\n\n";
  EXPECT_EQ(TaskPrompts(task)[0], "Q: x\nA: The answer is 1.\n\nQ: first?\nA:");
  task.fewshot = 0;
  EXPECT_EQ(TaskPrompts(task)[0], "Q: first?\nA:");
}

TEST(TaskPrompts, OtherProtocolsHaveCompletePrompts) {
  Task task = TaskOfProtocol(Protocol::kCustom);
  task.items = {{.prompt = "as it is", .answer = "1"}};
  EXPECT_THAT(TaskPrompts(task), ElementsAre("as it is"));
  EXPECT_EQ(TaskChats(task)[0][0].content, "as it is");
}

TEST(TaskChats, ShotsAreTurns) {
  const auto chat = TaskChats(WithShots(Protocol::kVllmCi, 9, 1))[0];
  ASSERT_EQ(chat.size(), 3u);
  EXPECT_EQ(chat[0].role, "user");
  EXPECT_EQ(chat[0].content, "Question: q0\nAnswer:");
  EXPECT_EQ(chat[1].role, "assistant");
  EXPECT_EQ(chat[1].content, "a0");
  EXPECT_EQ(chat[2].content, "Question: first?\nAnswer:");
}

}  // namespace
}  // namespace kvtune
