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

TEST(GateResult, LostAnswersAreCounted) {
  GateResult result = Failed();
  result.blame.reset();
  result.metrics = {{.metric = Metric::kAccuracy,
                     .before = 0.9,
                     .after = 0.8,
                     .change = {-0.18, -0.02},
                     .limit = {},
                     .outcome = Outcome::kWorse,
                     .flips = Flips{.items = 100, .lost = 12, .gained = 2}}};
  EXPECT_EQ(Sentence(result),
            "accuracy 0.9 -> 0.8, 12 lost and 2 gained of 100 items (McNemar's p 0.013), change in "
            "[-0.18, -0.02], allowed 0");
  const Json metric = ToJson(std::span(&result, 1))["configs"][0]["metrics"][0];
  EXPECT_EQ(metric["metric"], "accuracy");
  EXPECT_EQ(metric["items"], 100);
  EXPECT_EQ(metric["lost"], 12);
  EXPECT_EQ(metric["gained"], 2);
  EXPECT_NEAR(metric["mcnemar_p"].get<double>(), 0.01294, 1e-5);
  for (const std::string& text :
       {GateTable(std::span(&result, 1), 200), GateMarkdown(std::span(&result, 1)),
        GateJunit(std::span(&result, 1))}) {
    EXPECT_THAT(text, HasSubstr("accuracy"));
    EXPECT_THAT(text, HasSubstr("12 lost and 2 gained"));
  }
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

MetricVerdict VerdictOf(Metric metric, Outcome outcome) {
  return {.metric = metric,
          .before = 0.25,
          .after = 0.5,
          .change = {0.2, 0.3},
          .allowed = 0.005,
          .limit = {},
          .outcome = outcome};
}

TEST(GateResult, APassSaysWhatChangedNonetheless) {
  const auto sentence = [](const std::vector<std::pair<Metric, Outcome>>& outcomes) {
    GateResult result = Passed();
    result.metrics.clear();
    for (const auto& [metric, outcome] : outcomes)
      result.metrics.push_back(VerdictOf(metric, outcome));
    return Sentence(result);
  };
  using enum Metric;
  using enum Outcome;
  EXPECT_EQ(sentence({{kKlMean, kSame}, {kKlP999, kSame}}), "the same as the baseline");
  EXPECT_EQ(sentence({{kKlMean, kSame}, {kKlP999, kWithinTolerance}}), "within tolerance");
  EXPECT_EQ(sentence({{kKlMean, kExplained}, {kKlP999, kExplained}}),
            "the interval explains the change of kl_mean, kl_p999");
  EXPECT_EQ(sentence({{kKlMean, kBetter}, {kBytesPerToken, kBetter}}),
            "better: kl_mean, bytes_per_token");
  EXPECT_EQ(sentence({{kKlMean, kBetter}, {kDeltaNll, kExplained}, {kKlP999, kSame}}),
            "the interval explains the change of delta_nll; better: kl_mean");
}

TEST(GateResult, EveryFailureIsNamed) {
  GateResult result = Failed();
  result.metrics.push_back(VerdictOf(Metric::kKlP999, Outcome::kWithinTolerance));
  result.metrics.push_back(VerdictOf(Metric::kDeltaNll, Outcome::kWorse));
  result.blame->toward = Toward::kExact;
  EXPECT_EQ(Sentence(result),
            "kl_mean 0.25 -> 0.5, change in [0.2, 0.3], allowed 0.005; delta_nll 0.25 -> 0.5, "
            "change in [0.2, 0.3], allowed 0.005; layer 3 explains it best: with KV8 unquantized, "
            "not KV2, kl_mean is 0.26");
}

// The whole of every report.
TEST(GateReport, IsExactlyThis) {
  std::vector<GateResult> all = {Passed(), Failed(), NotJudged()};
  all[0].seconds = 1.5;
  all[1].seconds = 2;
  all[1].metrics.push_back(VerdictOf(Metric::kBytesPerToken, Outcome::kSame));
  all[1].metrics.back().limit = 0.5;
  all[1].notes = {"computed in bfloat16", "a note"};
  EXPECT_EQ(GateTable(all, 0),
            "config   metric           before  after      change  allowed  outcome\ngood     "
            "kl_mean            0.25   0.25           -        0  same\nbad|<&>  kl_mean           "
            " 0.25    0.5  [0.2, 0.3]    0.005  worse\nbad|<&>  bytes_per_token    0.25    0.5     "
            "      -    0.005  same\n\ngood: passed: the same as the baseline\nbad|<&>: failed: "
            "kl_mean 0.25 -> 0.5, change in [0.2, 0.3], allowed 0.005; layer 3 explains it best: "
            "with KV8 as in the baseline, not KV2, kl_mean is 0.26\n  computed in bfloat16\n  a "
            "note\nunread: not judged: c.json: 100% \"gone\"\n");
  EXPECT_EQ(
      GateMarkdown(all),
      "### kvtune: 1 of 3 plans hold\n\n| config | result | |\n|---|---|---|\n| `good` | passed | "
      "the same as the baseline |\n| <code>bad\\|&lt;&amp;&gt;</code> | failed | kl_mean 0.25 "
      "-&gt; 0.5, change in [0.2, 0.3], allowed 0.005; layer 3 explains it best: with KV8 as in "
      "the baseline, not KV2, kl_mean is 0.26 |\n| `unread` | not judged | c.json: 100% \"gone\" "
      "|\n\n<details><summary>good</summary>\n\n| metric | before | after | change | allowed | "
      "outcome |\n|---|--:|--:|--:|--:|---|\n| kl_mean | 0.25 | 0.25 | - | 0 | same "
      "|\n\n</details>\n\n<details><summary>bad\\|&lt;&amp;&gt;</summary>\n\n| metric | before | "
      "after | change | allowed | outcome |\n|---|--:|--:|--:|--:|---|\n| kl_mean | 0.25 | 0.5 | "
      "[0.2, 0.3] | 0.005 | worse |\n| bytes_per_token | 0.25 | 0.5 | - | 0.005 | same "
      "|\n\ncomputed in bfloat16\n\na note\n\n</details>\n");
  EXPECT_EQ(
      GateJunit(all),
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"3\" failures=\"1\" "
      "errors=\"1\" skipped=\"0\" time=\"3.500\">\n  <testsuite name=\"kvtune check\" tests=\"3\" "
      "failures=\"1\" errors=\"1\" skipped=\"0\" time=\"3.500\">\n    <testcase "
      "classname=\"kvtune.check\" name=\"good\" file=\"configs/good.json\" time=\"1.500\">\n      "
      "<system-out>kl_mean: 0.25 -&gt; 0.25, change in [0, 0], allowed 0: same&#10;</system-out>\n "
      "   </testcase>\n    <testcase classname=\"kvtune.check\" name=\"bad|&lt;&amp;&gt;\" "
      "file=\"configs/a,b:c.json\" time=\"2.000\">\n      <failure message=\"kl_mean 0.25 -&gt; "
      "0.5, change in [0.2, 0.3], allowed 0.005; layer 3 explains it best: with KV8 as in the "
      "baseline, not KV2, kl_mean is 0.26\" type=\"regression\">kl_mean 0.25 -&gt; 0.5, change in "
      "[0.2, 0.3], allowed 0.005; layer 3 explains it best: with KV8 as in the baseline, not KV2, "
      "kl_mean is 0.26</failure>\n      <system-out>kl_mean: 0.25 -&gt; 0.5, change in [0.2, 0.3], "
      "allowed 0.005: worse&#10;bytes_per_token: 0.25 -&gt; 0.5, change in [0.2, 0.3], allowed "
      "0.005: same&#10;computed in bfloat16&#10;a note&#10;</system-out>\n    </testcase>\n    "
      "<testcase classname=\"kvtune.check\" name=\"unread\" file=\"c.json\" time=\"0.000\">\n      "
      "<error message=\"c.json: 100% &quot;gone&quot;\" type=\"not-judged\">c.json: 100% "
      "&quot;gone&quot;</error>\n      <system-out></system-out>\n    </testcase>\n  "
      "</testsuite>\n</testsuites>\n");
  EXPECT_EQ(GateAnnotations(all),
            "::error file=configs/a%2Cb%3Ac.json,title=kvtune check bad|<&> failed::kl_mean 0.25 "
            "-> 0.5, change in [0.2, 0.3], allowed 0.005; layer 3 explains it best: with KV8 as in "
            "the baseline, not KV2, kl_mean is 0.26\n::error file=c.json,title=kvtune check unread "
            "not judged::c.json: 100%25 \"gone\"\n");
  EXPECT_EQ(
      ToJson(all).dump(1),
      "{\n \"passed\": false,\n \"exit_code\": 4,\n \"configs\": [\n  {\n   \"name\": \"good\",\n  "
      " \"config\": \"configs/good.json\",\n   \"status\": \"passed\",\n   \"message\": \"the same "
      "as the baseline\",\n   \"metrics\": [\n    {\n     \"metric\": \"kl_mean\",\n     "
      "\"before\": 0.25,\n     \"after\": 0.25,\n     \"change\": 0.0,\n     \"change_interval\": "
      "[\n      0.0,\n      0.0\n     ],\n     \"allowed\": 0.0,\n     \"limit\": null,\n     "
      "\"outcome\": \"same\"\n    }\n   ],\n   \"blame\": null,\n   \"notes\": [],\n   "
      "\"seconds\": 1.5\n  },\n  {\n   \"name\": \"bad|<&>\",\n   \"config\": "
      "\"configs/a,b:c.json\",\n   \"status\": \"failed\",\n   \"message\": \"kl_mean 0.25 -> 0.5, "
      "change in [0.2, 0.3], allowed 0.005; layer 3 explains it best: with KV8 as in the baseline, "
      "not KV2, kl_mean is 0.26\",\n   \"metrics\": [\n    {\n     \"metric\": \"kl_mean\",\n     "
      "\"before\": 0.25,\n     \"after\": 0.5,\n     \"change\": 0.25,\n     \"change_interval\": "
      "[\n      0.2,\n      0.3\n     ],\n     \"allowed\": 0.005,\n     \"limit\": null,\n     "
      "\"outcome\": \"worse\"\n    },\n    {\n     \"metric\": \"bytes_per_token\",\n     "
      "\"before\": 0.25,\n     \"after\": 0.5,\n     \"change\": 0.25,\n     \"change_interval\": "
      "[\n      0.2,\n      0.3\n     ],\n     \"allowed\": 0.005,\n     \"limit\": 0.5,\n     "
      "\"outcome\": \"same\"\n    }\n   ],\n   \"blame\": {\n    \"layer\": 3,\n    \"toward\": "
      "\"baseline\",\n    \"pair\": \"KV2\",\n    \"replacement\": \"KV8\",\n    \"metric\": "
      "\"kl_mean\",\n    \"after\": 0.5,\n    \"replaced\": 0.26\n   },\n   \"notes\": [\n    "
      "\"computed in bfloat16\",\n    \"a note\"\n   ],\n   \"seconds\": 2.0\n  },\n  {\n   "
      "\"name\": \"unread\",\n   \"config\": \"c.json\",\n   \"status\": \"not judged\",\n   "
      "\"message\": \"c.json: 100% \\\"gone\\\"\",\n   \"metrics\": [],\n   \"blame\": null,\n   "
      "\"notes\": [],\n   \"seconds\": 0.0\n  }\n ]\n}");
  EXPECT_EQ(GateTable(std::span(all).last(1), 0), "unread: not judged: c.json: 100% \"gone\"\n");
}

// White space and marks that the systems of CI skip or read.
TEST(GateReport, CommandsAreFoundBehindAnySpace) {
  const auto line = [](const std::string& note) {
    GateResult result = NotJudged();
    result.notes = {note};
    const std::string table = GateTable(std::span(&result, 1), 0);
    return table.substr(table.find("  "));
  };
  EXPECT_EQ(line("::x"), "  \\::x\n");
  EXPECT_EQ(line("  ::x"), "    \\::x\n");
  EXPECT_EQ(line(":x::y"), "  :x::y\n");
  EXPECT_EQ(line("a::x"), "  a::x\n");
  EXPECT_EQ(line("~::x"), "  ~::x\n");
  EXPECT_EQ(line("##[x ##[y"), "  ##\\[x ##\\[y\n");
  EXPECT_EQ(line("#[x"), "  #[x\n");
  EXPECT_EQ(line(""), "  \n");
}

TEST(GateReport, MarkdownTextIsShownAsItIs) {
  const auto shown = [](const std::string& text) {
    GateResult result = NotJudged();
    result.error = text;
    const std::string markdown = GateMarkdown(std::span(&result, 1));
    const size_t begin = markdown.find("| not judged | ") + 15;
    return markdown.substr(begin, markdown.find(" |\n", begin) - begin);
  };
  EXPECT_EQ(shown("a & b < c > d"), "a &amp; b &lt; c &gt; d");
  EXPECT_EQ(shown("`a` | b"), "&#96;a&#96; \\| b");
  EXPECT_EQ(shown("[a](b) (c) ](d"), "[a]&#40;b) (c) ]&#40;d");
}

}  // namespace
}  // namespace kvtune
