#include "lib/targets/engine_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/random.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string WordOf(std::string_view text) {
  return EngineSettings(text, "text").Word({"--kv-cache-dtype"}).value_or("none");
}

std::vector<std::string> WordsOf(std::string_view text) {
  return EngineSettings(text, "text").Words({"--kv-cache-dtype"});
}

std::string ErrorOf(std::string_view text) {
  try {
    return "no error: " + WordOf(text);
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(EngineSettings, EveryFormThatPeopleKeepASettingIn) {
  for (const char* text : {
           "--kv-cache-dtype fp8",
           "vllm serve m --kv_cache_dtype=fp8 --port 1",
           "vllm serve m \\\n  --kv-cache-dtype 'fp8' > log 2>&1 &",
           "cd x && vllm serve --kv-cache-dtype \"fp8\" m; echo done",
           "kv-cache-dtype: fp8",
           "model: m\nkv_cache_dtype: \"fp8\"  # half the memory\n",
           "{\"model\": \"m\", \"kv_cache_dtype\": \"fp8\"}",
           "command: [\"--model\", \"m\", \"--kv-cache-dtype\", \"fp8\"]",
           "services:\n  vllm:\n    command: >\n      --model m\n      --kv-cache-dtype fp8\n",
           "services:\n  vllm:\n    command:\n      - --kv-cache-dtype=fp8\n      - --port\n      "
           "- 80\n",
           "args: [\"sh -c\", \"vllm serve m --kv-cache-dtype fp8\"]",
           "kind: A\n---\nspec:\n  containers:\n  - args: ['--kv-cache-dtype', fp8]\n---\n",
           "LLM(model=\"m\", kv_cache_dtype=\"fp8\", seed = 1)",
           "args = dict(\n    kv_cache_dtype = 'fp8',\n)",
           "config.kv_cache_dtype = 'fp8'",
           "[engine]\nkv-cache-dtype = fp8\n",
           "[\"vllm\", \"serve\", \"m\", \"--kv-cache-dtype\", \"fp8\"]",
       }) {
    EXPECT_EQ(WordOf(text), "fp8") << text;
  }
}

TEST(EngineSettings, VariablesOfAnEnvironment) {
  for (const char* text : {
           "OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve",
           "export OLLAMA_KV_CACHE_TYPE=\"q8_0\"",
           "docker run -e OLLAMA_KV_CACHE_TYPE=q8_0 ollama/ollama",
           "docker run -e \"OLLAMA_KV_CACHE_TYPE=q8_0\" ollama/ollama",
           "[Service]\nEnvironment=\"OLLAMA_KV_CACHE_TYPE=q8_0\"",
           "$env:OLLAMA_KV_CACHE_TYPE = \"q8_0\"",
           "set OLLAMA_KV_CACHE_TYPE=q8_0\r\n",
           "environment:\n  - OLLAMA_KV_CACHE_TYPE=q8_0\n",
           "environment: {OLLAMA_KV_CACHE_TYPE: q8_0}",
           "env:\n- name: OLLAMA_KV_CACHE_TYPE\n  value: q8_0\n",
       }) {
    EXPECT_EQ(EngineSettings(text, "").Word({"OLLAMA_KV_CACHE_TYPE"}), "q8_0") << text;
  }
}

TEST(EngineSettings, ListsAndWordsUpToTheNextOption) {
  for (const char* text : {"--kv-cache-dtype 0 1 --port 2", "--kv-cache-dtype \"0\" '1' | tee log",
                           "kv-cache-dtype: [\"0\", 1]", "f(kv_cache_dtype=[\"0\", 1])",
                           "f(kv_cache_dtype=('0', '1'))"}) {
    EXPECT_THAT(WordsOf(text), ElementsAre("0", "1")) << text;
  }
  EXPECT_THAT(WordsOf("--kv-cache-dtype -1 x"), ElementsAre("-1", "x"));  // a number, no option
  EXPECT_THAT(WordsOf("a"), IsEmpty());
}

TEST(EngineSettings, CommentsSetNothing) {
  for (const char* text : {
           "# vllm serve m --kv-cache-dtype fp8",
           "vllm serve m  # --kv-cache-dtype fp8",
           "# kv_cache_dtype: fp8\nmodel: m\n",
           "model: m  # kv_cache_dtype: fp8",
           "x = 1  # kv_cache_dtype=fp8",
           "f()#kv_cache_dtype='fp8'",
           "\"\"\"Set kv_cache_dtype='fp8' for less memory.\"\"\"\nf()",
       }) {
    EXPECT_FALSE(EngineSettings(text, "").Has({"kv-cache-dtype"})) << text;
  }
  EXPECT_EQ(WordOf("# kv_cache_dtype='int8'\nf(a=\"#\", kv_cache_dtype='fp8')"), "fp8");
}

TEST(EngineSettings, OtherNamesAreOtherSettings) {
  for (const char* text :
       {"--kv-cache-dtype-skip-layers 0", "--draft-kv-cache-dtype fp8", "kv_cache_dtype",
        "kv cache dtype fp8", "if kv_cache_dtype == 'fp8'", "my_kv_cache_dtype=fp8",
        "kv_cache_dtype: {a: fp8}", "echo kv-cache-dtype fp8"}) {
    EXPECT_FALSE(EngineSettings(text, "").Has({"kv-cache-dtype"})) << text;
  }
}

TEST(EngineSettings, ErrorsNameTheSettingAsWritten) {
  EXPECT_EQ(ErrorOf("--kv_cache_dtype a --kv-cache-dtype b"),
            "text: --kv-cache-dtype: found twice, expected once");
  EXPECT_EQ(ErrorOf("--kv-cache-dtype --port 1"),
            "text: --kv-cache-dtype: found 0 words, expected one");
  EXPECT_EQ(ErrorOf("kv_cache_dtype: [a, b]"), "text: kv_cache_dtype: found 2 words, expected one");
  EXPECT_EQ(ErrorOf("kv_cache_dtype:\n"), "text: kv_cache_dtype: found 0 words, expected one");
  EXPECT_THAT(ErrorOf("--kv-cache-dtype 'fp8"), HasSubstr("ends without a closing quote"));
  EXPECT_EQ(WordOf("prompt: it's\nkv_cache_dtype: fp8"), "fp8");  // no quote of a shell
}

TEST(EngineSettings, Switches) {
  const auto is_on = [](std::string_view text) {
    return EngineSettings(text, "text").IsOn({"a-b"});
  };
  EXPECT_TRUE(is_on("--a-b"));
  EXPECT_TRUE(is_on("--a_b model"));
  EXPECT_TRUE(is_on("a_b: true"));
  EXPECT_TRUE(is_on("f(a_b=True)"));
  EXPECT_FALSE(is_on("a_b: false"));
  EXPECT_FALSE(is_on("f(a_b=False)"));
  EXPECT_FALSE(is_on("--no-a-b"));
  EXPECT_THROW(is_on("a_b: perhaps"), Error);
}

TEST(WithoutComments, LeavesTextsInQuotesAndTakesDocumentationOut) {
  EXPECT_EQ(WithoutComments("a # b\nc"), "a \nc");
  EXPECT_EQ(WithoutComments("'#' \"#\" # x"), "'#' \"#\" ");
  EXPECT_EQ(WithoutComments("it's # b\n# c\nd"), "it's # b\n\nd");  // a quote ends with its line
  EXPECT_EQ(WithoutComments("\\# a\\\n# b"), "\\# a\\\n");
  EXPECT_EQ(WithoutComments("x = 1\n\"\"\"a # b\n'c'\"\"\"y"), "x = 1\ny");
  EXPECT_EQ(WithoutComments("'''a"), "");
  EXPECT_EQ(WithoutComments("#"), "");
  EXPECT_EQ(WithoutComments("a\\"), "a\\");
}

TEST(WithoutComments, OfAnyCharactersIsPinned) {
  constexpr std::string_view kCharacters = "aa \n'\"\"\"\\##";
  Random random(4);
  ContentHash hash;
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (uint64_t n = random.Below(16); n > 0; --n)
      text += kCharacters[random.Below(kCharacters.size())];
    hash.UpdateField(WithoutComments(text));
  }
  EXPECT_EQ(hash.Digest(), "xxh3:c862c82a84cb056295c1191f700eff5c");
}

TEST(EngineSettings, DocumentsOfYamlAreReadOneByOne) {
  const auto word = [](std::string_view text) {
    return EngineSettings(text, "").Word({"a-b"}).value_or("none");
  };
  EXPECT_EQ(word("x: 1\n--- \na_b: 2\n---\n"), "2");
  EXPECT_EQ(word("---\na_b: 2\n"), "2");
  EXPECT_EQ(word("--- {a_b: 2}\n"), "2");
  // An alias refers to what was walked already.
  EXPECT_EQ(word("x: &here\n  a_b: 2\ny: *here\n"), "2");
  EXPECT_THROW(word("x: {a_b: 2}\ny: {a_b: 2}\n"), Error);
}

TEST(EngineSettings, ValuesOfAssignmentsEndWhereTheWordDoes) {
  const auto words = [](std::string_view text) { return EngineSettings(text, "").Words({"a_b"}); };
  EXPECT_THAT(words("f(a_b=fp8_e4m3, c=1)"), ElementsAre("fp8_e4m3"));
  EXPECT_THAT(words("a_b = 'x y'; z"), ElementsAre("x y"));
  EXPECT_THAT(words("a_b=\"x"), ElementsAre("x"));
  EXPECT_THAT(words("f(a_b=[1,2 , 'c'] , d=3)"), ElementsAre("1", "2", "c"));
  EXPECT_THAT(words("f(a_b=(1,))"), ElementsAre("1"));
  EXPECT_THAT(words("f(a_b=[])"), IsEmpty());
  EXPECT_THAT(words("f(a_b=[1, *c, 2])"), ElementsAre("1", ""));  // what no list of words has
  EXPECT_THAT(words("f(a_b=$X/y.z+1)"), ElementsAre("$X/y.z+1"));
  EXPECT_THAT(words("f(a_b=)"), ElementsAre(""));
  EXPECT_THAT(words("g(x)\na_b="), ElementsAre(""));
  EXPECT_THAT(words("g(x)\na_b"), IsEmpty());
  EXPECT_THAT(words("a_b =\t7"), ElementsAre("7"));
  EXPECT_THAT(words("f(a_b=[1,\t2,\r\n  3])"), ElementsAre("1", "2", "3"));
  EXPECT_THAT(words("f(a_b=['1','2'])"), ElementsAre("1", "2"));
  EXPECT_THAT(words("test $a_b = 7"), IsEmpty());  // the value of a variable
}

TEST(EngineSettings, SwitchesAreWordsOfYesAndNo) {
  const auto is_on = [](std::string_view text) {
    return EngineSettings(text, "text").IsOn({"a-b"});
  };
  for (const char* yes : {"a_b: True", "a_b: 1", "a_b: yes", "a_b: on", "--a-b", "f(a_b=1)"})
    EXPECT_TRUE(is_on(yes)) << yes;
  for (const char* no : {"a_b: False", "a_b: 0", "a_b: no", "a_b: off", "--a-b=false", "c: 1"})
    EXPECT_FALSE(is_on(no)) << no;
  EXPECT_THROW(is_on("a_b: [true, true]"), Error);
  EXPECT_THROW(is_on("a_b:"), Error);
}

}  // namespace
}  // namespace kvtune
