#include "lib/gate/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

GateResult Passed() {
  return {
      .name = "good",
      .file = "configs/good.json",
      .status = GateStatus::kPassed,
      .error = "",
      .metrics =
          {{.metric = Metric::kKlMean, .before = 0.25, .after = 0.25, .change = {}, .limit = {}}},
      .blame = {},
      .notes = {}};
}

GateResult Failed() {
  return {.name = "bad|<&>",
          .file = "configs/a,b:c.json",
          .status = GateStatus::kFailed,
          .error = "",
          .metrics = {{.metric = Metric::kKlMean,
                       .before = 0.25,
                       .after = 0.5,
                       .change = {0.2, 0.3},
                       .allowed = 0.005,
                       .limit = {},
                       .outcome = Outcome::kWorse}},
          .blame = Blame{.layer = 3,
                         .toward = Toward::kBaseline,
                         .pair = "KV2",
                         .replacement = "KV8",
                         .metric = Metric::kKlMean,
                         .after = 0.5,
                         .replaced = 0.26},
          .notes = {}};
}

GateResult NotJudged() {
  return {.name = "unread",
          .file = "c.json",
          .status = GateStatus::kNotJudged,
          .error = "c.json: 100% \"gone\"",
          .metrics = {},
          .blame = {},
          .notes = {}};
}

TEST(GateResult, AFailureIsOneLineWithAllThatMatters) {
  EXPECT_EQ(Sentence(Failed()),
            "kl_mean 0.25 -> 0.5, change in [0.2, 0.3], allowed 0.005; layer 3 explains it best: "
            "with KV8 as in the "
            "baseline, not KV2, kl_mean is 0.26");
  EXPECT_EQ(Sentence(Passed()), "the same as the baseline");
}

TEST(GateResult, ABrokenLimitIsNamedWithTheChange) {
  GateResult result = Failed();
  result.blame.reset();
  result.metrics[0].limit = 0.3;
  result.metrics[0].outcome = Outcome::kOverLimit;
  EXPECT_EQ(Sentence(result), "kl_mean 0.25 -> 0.5, change in [0.2, 0.3], limit 0.3");
  result.metrics[0].before = 0.5;
  result.metrics[0].change = {};
  EXPECT_EQ(Sentence(result), "kl_mean 0.5 -> 0.5, limit 0.3");
}

TEST(GateResult, AFailedGateDecidesOverOneThatWasNotJudged) {
  const std::vector<GateResult> all = {Passed(), NotJudged(), Failed()};
  EXPECT_EQ(ExitCodeOf(all), ExitCode::kGateFailed);
  EXPECT_EQ(ExitCodeOf(std::span(all).first(2)), ExitCode::kError);
  EXPECT_EQ(ExitCodeOf(std::span(all).first(1)), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf({}), ExitCode::kError);
}

TEST(GateReport, TableHasALineForEveryConfig) {
  const std::vector<GateResult> all = {Passed(), NotJudged()};
  const std::string table = GateTable(all, 0);
  EXPECT_THAT(table, HasSubstr("good    kl_mean    0.25   0.25"));
  EXPECT_THAT(table, HasSubstr("unread: not judged: c.json: 100% \"gone\"\n"));
}

TEST(GateReport, JunitCountsAndEscapes) {
  const std::vector<GateResult> all = {Passed(), Failed(), NotJudged()};
  const std::string xml = GateJunit(all);
  EXPECT_THAT(
      xml,
      HasSubstr(R"(<testsuite name="kvtune check" tests="3" failures="1" errors="1" skipped="0")"));
  EXPECT_THAT(xml, HasSubstr(R"(name="bad|&lt;&amp;&gt;" file="configs/a,b:c.json")"));
  EXPECT_THAT(xml, HasSubstr("<failure message=\"kl_mean 0.25 -&gt; 0.5"));
  EXPECT_THAT(xml,
              HasSubstr("<error message=\"c.json: 100% &quot;gone&quot;\" type=\"not-judged\">"));
}

TEST(GateReport, MarkdownCountsThePlansThatHold) {
  const std::vector<GateResult> all = {Passed(), Failed()};
  const std::string text = GateMarkdown(all);
  EXPECT_THAT(text, StartsWith("### kvtune: 1 of 2 plans hold\n"));
  EXPECT_THAT(text, HasSubstr("| <code>bad\\|&lt;&amp;&gt;</code> | failed | kl_mean"));
}

TEST(GateReport, AnnotationsNameWhatFailedOnly) {
  const std::vector<GateResult> all = {Passed(), Failed(), NotJudged()};
  const std::string text = GateAnnotations(all);
  EXPECT_THAT(text, Not(HasSubstr("good")));
  EXPECT_THAT(
      text,
      HasSubstr("::error file=configs/a%2Cb%3Ac.json,title=kvtune check bad|<&> failed::kl_mean"));
  EXPECT_THAT(text, HasSubstr("::c.json: 100%25 \"gone\"\n"));
}

TEST(GateReport, JsonSaysTheExitCode) {
  const std::vector<GateResult> all = {Failed()};
  const Json json = ToJson(all);
  EXPECT_EQ(json["passed"], false);
  EXPECT_EQ(json["exit_code"], 4);
  EXPECT_EQ(json["configs"][0]["blame"]["layer"], 3);
  EXPECT_EQ(json["configs"][0]["metrics"][0]["change_interval"], Json({0.2, 0.3}));
}

// A config whose name, file and notes try to be more than text.
GateResult Hostile() {
  GateResult result = Failed();
  result.name = "::error::a\n::error::b\x1b[31m<img src=x>`c` ![d](e)";
  result.file = "f\n::error::g.json";
  result.notes = {"::warning::h", "\xc2\xa0::warning::space", "i\n::error::j ##[error]k <script>"};
  return result;
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(GateReport, NothingInATableIsACommandOfACiSystem) {
  const std::vector<GateResult> all = {Hostile()};
  const std::string table = GateTable(all, 0);
  for (const std::string& line : LinesOf(table)) {
    EXPECT_FALSE(line.starts_with("::") || line.starts_with("  ::")) << line;
  }
  EXPECT_THAT(table, HasSubstr("  \xc2\xa0\\::warning::space\n"));
  EXPECT_THAT(table, Not(HasSubstr("##[")));
  EXPECT_THAT(table, Not(HasSubstr("\x1b")));
  EXPECT_THAT(table, HasSubstr("\\::error::a\\n::error::b\\x1b[31m<img src=x>"));
}

TEST(GateReport, NothingInMarkdownIsHtmlOrALink) {
  const std::vector<GateResult> all = {Hostile()};
  const std::string text = GateMarkdown(all);
  for (const char* live : {"<img", "<script", "](", "\x1b", "`c`"}) {
    EXPECT_THAT(text, Not(HasSubstr(live)));
  }
  EXPECT_THAT(text, HasSubstr("<summary>::error::a\\n::error::b\\x1b[31m&lt;img src=x&gt;"));
}

TEST(GateReport, AnnotationsAreOneLineAConfig) {
  const std::vector<GateResult> all = {Hostile()};
  const std::string text = GateAnnotations(all);
  EXPECT_EQ(LinesOf(text).size(), 1u) << text;
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(GateReport, JunitHoldsNoCharacterThatXmlDoesNotKnow) {
  std::vector<GateResult> all = {Hostile()};
  all.front().file = "g\xff.json";
  const std::string xml = GateJunit(all);
  EXPECT_THAT(xml, Not(HasSubstr("\x1b")));
  EXPECT_THAT(xml, Not(HasSubstr("<img")));
  EXPECT_THAT(xml, HasSubstr("\\x1b[31m&lt;img"));
  EXPECT_THAT(xml, HasSubstr("file=\"g\\xff.json\""));
}

}  // namespace
}  // namespace kvtune
