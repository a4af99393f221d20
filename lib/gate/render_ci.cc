#include <fmt/format.h>

#include <algorithm>

#include "lib/base/printable.h"
#include "lib/gate/render.h"

namespace kvtune {
namespace {

// Text and attribute values of XML 1.0, which has no spelling for most control characters: they are
// shown as a terminal would show them.
std::string Xml(const std::string& text) {
  std::string escaped;
  for (const char c : PrintableText(text)) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else if (c == '"')
      escaped += "&quot;";
    else if (c == '\n')
      escaped += "&#10;";
    else if (c == '\t')
      escaped += "&#9;";
    else
      escaped += c;
  }
  return escaped;
}

// Values of a workflow command; `property` ones also end at commas and colons.
// github.com/actions/toolkit, packages/core/src/command.ts.
enum class Place { kMessage, kProperty };
std::string WorkflowValue(const std::string& text, Place place) {
  std::string escaped;
  for (const char c : PrintableText(text)) {
    const bool special =
        c == '%' || c == '\r' || c == '\n' || (place == Place::kProperty && (c == ':' || c == ','));
    escaped += special ? fmt::format("%{:02X}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return escaped;
}

std::string Numbers(const GateResult& result) {
  std::string text;
  for (const MetricVerdict& verdict : result.metrics) {
    text +=
        fmt::format("{}: {:.6g} -> {:.6g}, change in [{:.4g}, {:.4g}], allowed {:.3g}: {}\n",
                    MetricName(verdict.metric), verdict.before, verdict.after, verdict.change.low,
                    verdict.change.high, verdict.allowed, OutcomeName(verdict.outcome));
  }
  for (const std::string& note : result.notes) text += note + "\n";
  return text;
}

}  // namespace

std::string GateJunit(std::span<const GateResult> results) {
  const auto failures = std::ranges::count(results, GateStatus::kFailed, &GateResult::status);
  const auto errors = std::ranges::count(results, GateStatus::kNotJudged, &GateResult::status);
  double seconds = 0;
  for (const GateResult& result : results) seconds += result.seconds;
  const std::string counts =
      fmt::format(R"(tests="{}" failures="{}" errors="{}" skipped="0" time="{:.3f}")",
                  results.size(), failures, errors, seconds);
  std::string xml = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {}>\n"
      "  <testsuite name=\"kvtune check\" {}>\n",
      counts, counts);
  for (const GateResult& result : results) {
    xml += fmt::format(
        "    <testcase classname=\"kvtune.check\" name=\"{}\" file=\"{}\" time=\"{:.3f}\">\n",
        Xml(result.name), Xml(result.file), result.seconds);
    if (result.status != GateStatus::kPassed) {
      const char* tag = result.status == GateStatus::kFailed ? "failure" : "error";
      xml += fmt::format("      <{0} message=\"{1}\" type=\"{2}\">{1}</{0}>\n", tag,
                         Xml(Sentence(result)),
                         result.status == GateStatus::kFailed ? "regression" : "not-judged");
    }
    xml +=
        fmt::format("      <system-out>{}</system-out>\n    </testcase>\n", Xml(Numbers(result)));
  }
  return xml + "  </testsuite>\n</testsuites>\n";
}

std::string GateAnnotations(std::span<const GateResult> results) {
  std::string text;
  for (const GateResult& result : results) {
    const bool same = std::ranges::all_of(result.metrics, [](const MetricVerdict& verdict) {
      return verdict.outcome == Outcome::kSame;
    });
    const bool passed = result.status == GateStatus::kPassed;
    if (passed && same) continue;
    text += fmt::format(
        "::{} file={},title={}::{}\n", passed ? "notice" : "error",
        WorkflowValue(result.file, Place::kProperty),
        WorkflowValue(fmt::format("kvtune check {} {}", result.name, GateStatusName(result.status)),
                      Place::kProperty),
        WorkflowValue(Sentence(result), Place::kMessage));
  }
  return text;
}

}  // namespace kvtune
