#include "lib/report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tests/report/report_example.h"

namespace kvtune {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kBreakOut = "</script><img src=x onerror=alert(1)><!--<script>&amp;";

size_t CountOf(std::string_view text, std::string_view word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    ++count;
  }
  return count;
}

// The text of the page's JSON element.
std::string DataElement(const std::string& page) {
  const std::string_view opening = R"(<script type="application/json" id="kvtune-data">)";
  const size_t begin = page.find(opening) + opening.size();
  return page.substr(begin, page.find("</script>", begin) - begin);
}

TEST(JsonForScript, NothingCanEndTheElement) {
  const std::string escaped = JsonForScript({{"name", kBreakOut}});
  EXPECT_THAT(escaped, Not(HasSubstr("<")));
  EXPECT_THAT(escaped, Not(HasSubstr(">")));
  EXPECT_THAT(escaped, Not(HasSubstr("&")));
  EXPECT_EQ(Json::parse(escaped)["name"], kBreakOut);
}

TEST(JsonForScript, IsAsciiAlone) {
  const std::string text = "line\u2028paragraph\u2029 \u00fc \U0001F600";
  const std::string escaped = JsonForScript({{text, text}});
  for (const char c : escaped) EXPECT_LT(static_cast<unsigned char>(c), 0x80);
  EXPECT_THAT(escaped, HasSubstr("\\u2028"));
  EXPECT_THAT(escaped, HasSubstr("\\u2029"));
  EXPECT_EQ(Json::parse(escaped)[text], text);
}

TEST(JsonForScript, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(JsonForScript({{"a", "\xff"}}), R"({"a":"\ufffd"})");
}

TEST(HtmlReport, IsOnePageWithItsDataAndNoPlaceLeftOpen) {
  const std::string page = HtmlReport(ReportExample());
  EXPECT_THAT(page, StartsWith("<!DOCTYPE html>\n"));
  EXPECT_THAT(page, EndsWith("</html>\n"));
  EXPECT_EQ(Json::parse(DataElement(page)), ReportData(ReportExample()));
  EXPECT_THAT(page, Not(HasSubstr("{{")));
  EXPECT_LT(page.size(), 200'000u);
}

TEST(HtmlReport, LoadsNothing) {
  const std::string page = HtmlReport(ReportExample());
  for (const std::string_view word : {" src=", "url(", "@import", "fetch(", "XMLHttpRequest"}) {
    EXPECT_THAT(page, Not(HasSubstr(std::string(word))));
  }
  // The name space of SVG, which nobody fetches, is the only address.
  EXPECT_EQ(CountOf(page, "://"), CountOf(page, "http://www.w3.org/2000/svg"));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(HtmlReport, NamesFromFilesStandInTheDataAlone) {
  const std::string name(kBreakOut);
  RunReport report = ReportExample();
  report.title = name;
  report.path = name;
  report.run.model = name;
  report.run.prompts = {name};
  report.front->run = report.run;
  report.front->plans[0].name = name;
  report.stages[0].command = name;
  report.missing = {{name, name}};
  const std::string page = HtmlReport(report);
  EXPECT_THAT(page, Not(HasSubstr("onerror=alert(1)>")));
  EXPECT_EQ(CountOf(page, "<script"), CountOf(HtmlReport(ReportExample()), "<script"));
  EXPECT_EQ(CountOf(page, "</script"), CountOf(HtmlReport(ReportExample()), "</script"));
  const Json data = Json::parse(DataElement(page));
  EXPECT_EQ(data["title"], name);
  EXPECT_EQ(data["plans"][0]["name"], name);
}

TEST(HtmlReport, TextOfThePageIsNotFilledAgain) {
  RunReport report = ReportExample();
  report.title = "{{script}}";
  EXPECT_EQ(Json::parse(DataElement(HtmlReport(report)))["title"], "{{script}}");
}

}  // namespace
}  // namespace kvtune
