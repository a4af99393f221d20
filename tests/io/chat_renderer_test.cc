#include "lib/io/chat_renderer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/io/prompt_file.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

// "[user:hi][assistant:yes]" and the like.
constexpr const char* kTemplate =
    "{% for m in messages %}[{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}]{% endfor %}"
    "{% if tools %}{{ tools | length }} tools{% endif %}"
    "{% if add_generation_prompt %}>{% endif %}{{ word }}";

class Chats : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("for python in python3 /usr/bin/python3; do"
                    "  $python -c 'import jinja2' 2>/dev/null && exit 0; done; exit 1") != 0) {
      GTEST_SKIP() << "found no python3 with jinja2 (python3-jinja2)";
    }
    WriteFileAtomically(directory_ / "chat_template.jinja", kTemplate);
  }

  std::vector<RawPrompt> Read(std::string_view content, const std::string& name = "p.jsonl") const {
    WriteFileAtomically(directory_ / name, content);
    return ReadPromptFile(directory_ / name, directory_ / "");
  }

  std::string TextOf(std::string_view record) const {
    const std::vector<RawPrompt> prompts = Read(record);
    EXPECT_THAT(prompts, SizeIs(1));
    EXPECT_TRUE(prompts.at(0).has_special_tokens);
    return prompts.at(0).text;
  }

  auto Reading(std::string_view content) const {
    return [this, content = std::string(content)] { Read(content); };
  }

  TemporaryDirectory directory_;
};

TEST_F(Chats, AreReadInEveryForm) {
  EXPECT_EQ(TextOf(R"({"messages": [{"role": "user", "content": "hi"}]})"), "[user:hi]>");
  EXPECT_EQ(TextOf(R"([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}])"),
            "[user:hi][assistant:a]");
  EXPECT_EQ(TextOf(R"({"custom_id": "1", "body": {"messages": [{"role": "user",
                      "content": "hi"}], "tools": [{"type": "function"}]}})"),
            "[user:hi]1 tools>");
  EXPECT_EQ(TextOf(R"({"system": "s", "conversations": [{"from": "human", "value": "hi"},
                      {"from": "gpt", "value": "a"}]})"),
            "[system:s][user:hi][assistant:a]");
  EXPECT_EQ(TextOf(R"([{"from": "human", "value": "hi"}])"), "[user:hi]>");
}

TEST_F(Chats, ContentBecomesText) {
  EXPECT_EQ(TextOf(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                      {"type": "text", "text": "b"}]}]})"),
            "[user:a\nb]>");
  EXPECT_EQ(TextOf(R"({"messages": [{"role": "user", "content": "w"}, {"role": "assistant",
                      "content": null, "tool_calls": [{"function": {"name": "f",
                      "arguments": "{\"city\": \"Köln\"}"}}]}]})"),
            "[user:w][assistant:{\"city\": \"Köln\"}]");
  EXPECT_EQ(TextOf(R"({"messages": [{"role": "user", "content": "a", "tool_calls": null}],
                      "chat_template_kwargs": {"word": "!", "add_generation_prompt": false}})"),
            "[user:a]!");
}

TEST_F(Chats, StandBesideTexts) {
  const auto prompts = Read(
      "\xef\xbb\xbf{\"text\": \"plain\"}\n\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n");
  ASSERT_THAT(prompts, SizeIs(2));
  EXPECT_EQ(prompts[0].text, "plain");
  EXPECT_FALSE(prompts[0].has_special_tokens);
  EXPECT_EQ(prompts[1].text, "[user:hi]>");
  EXPECT_THAT(prompts[1].where, HasSubstr("p.jsonl, line 3"));
}

TEST_F(Chats, WhatIsNoTextIsRefusedByName) {
  EXPECT_THAT(Reading("{\"text\": \"a\"}\n"
                      R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})"),
              ThrowsMessage<Error>(AllOf(HasSubstr("p.jsonl, line 2: "), HasSubstr("image_url"))));
  EXPECT_THAT(Reading(R"({"messages": []})"),
              ThrowsMessage<Error>(HasSubstr("found no list of messages")));
  EXPECT_THAT(Reading(R"({"conversations": [{"from": "nobody", "value": "x"}]})"),
              ThrowsMessage<Error>(HasSubstr("nobody")));
  EXPECT_THAT(Reading(R"({"messages": [{"role": "assistant", "tool_calls": [{"function":
                         {"arguments": "{"}}]}]})"),
              ThrowsMessage<Error>(HasSubstr("message 1: found the arguments '{', expected JSON")));
}

TEST_F(Chats, NeedATemplate) {
  TemporaryDirectory bare;
  const std::vector<Chat> chats = {{R"([{"role": "user", "content": "x"}])", "p, line 1"}};
  EXPECT_THAT([&] { RenderChats(chats, bare / ""); },
              ThrowsMessage<Error>(AllOf(HasSubstr("rendering the chats of p, line 1"),
                                         HasSubstr("found no chat template"))));
}

TEST_F(Chats, NeedPython) {
  const std::vector<Chat> chats = {{R"([{"role": "user", "content": "x"}])", "p, line 1"}};
  ::setenv("KVTUNE_PYTHON", "/nowhere/python3", 1);
  EXPECT_THAT([&] { RenderChats(chats, directory_ / ""); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("found no /nowhere/python3"), HasSubstr("python3-jinja2"))));
  ::unsetenv("KVTUNE_PYTHON");
}

}  // namespace
}  // namespace kvtune
