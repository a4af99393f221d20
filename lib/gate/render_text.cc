#include <fmt/format.h>

#include <algorithm>

#include "lib/base/printable.h"
#include "lib/gate/render.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

// One line that a CI system takes for text: GitHub's runner obeys "::" where a line begins, and
// "##[" anywhere (github.com/actions/runner, src/Runner.Common/ActionCommand.cs).
std::string LogLine(const std::string& text) {
  std::string line = PrintableLine(text);
  // The runner skips every white space of Unicode, so only a visible ASCII character is a
  // beginning.
  const auto begin = std::ranges::find_if(line, [](char c) { return c > ' ' && c <= '~'; });
  if (std::string_view(begin, line.end()).starts_with("::")) line.insert(begin, '\\');
  for (size_t at = 0; (at = line.find("##[", at)) != std::string::npos; at += 4) {
    line.insert(at + 2, "\\");
  }
  return line;
}

bool EndsWithBracket(const std::string& text) { return !text.empty() && text.back() == ']'; }

// Text of one line in Markdown, also in a cell of a table: no HTML, no code, no link or picture.
std::string MarkdownText(const std::string& text) {
  std::string escaped;
  for (const char c : PrintableLine(text)) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '>')
      escaped += "&gt;";
    else if (c == '`')
      escaped += "&#96;";
    else if (c == '|')
      escaped += "\\|";
    else if (c == '(' && EndsWithBracket(escaped))
      escaped += "&#40;";
    else
      escaped += c;
  }
  return escaped;
}

// A name in Markdown, set as code. Between backticks nothing can be escaped but '|'.
std::string MarkdownName(const std::string& name) {
  const std::string escaped = MarkdownText(name);
  if (escaped == name) return "`" + name + "`";
  return "<code>" + escaped + "</code>";
}

std::string IntervalText(const MetricVerdict& verdict) {
  if (verdict.outcome == Outcome::kSame) return "-";
  return fmt::format("[{:.3g}, {:.3g}]", verdict.change.low, verdict.change.high);
}

}  // namespace

std::string GateTable(std::span<const GateResult> results, size_t width) {
  TextTable table({{"config", Align::kLeft},
                   {"metric", Align::kLeft},
                   {"before"},
                   {"after"},
                   {"change"},
                   {"allowed"},
                   {"outcome", Align::kLeft}});
  bool any = false;
  for (const GateResult& result : results) {
    for (const MetricVerdict& verdict : result.metrics) {
      any = true;
      table.AddRow({LogLine(result.name), std::string(MetricName(verdict.metric)),
                    fmt::format("{:.4g}", verdict.before), fmt::format("{:.4g}", verdict.after),
                    IntervalText(verdict), fmt::format("{:.2g}", verdict.allowed),
                    std::string(OutcomeName(verdict.outcome))});
    }
  }
  std::string text = any ? table.Render(width) + "\n" : "";
  for (const GateResult& result : results) {
    text += LogLine(fmt::format("{}: {}: {}", result.name, GateStatusName(result.status),
                                Sentence(result))) +
            "\n";
    for (const std::string& note : result.notes) text += fmt::format("  {}\n", LogLine(note));
  }
  return text;
}

std::string GateMarkdown(std::span<const GateResult> results) {
  const auto passed = std::ranges::count(results, GateStatus::kPassed, &GateResult::status);
  std::string text =
      fmt::format("### kvtune: {} of {} plans hold\n\n| config | result | |\n|---|---|---|\n",
                  passed, results.size());
  for (const GateResult& result : results) {
    text += fmt::format("| {} | {} | {} |\n", MarkdownName(result.name),
                        GateStatusName(result.status), MarkdownText(Sentence(result)));
  }
  for (const GateResult& result : results) {
    if (result.metrics.empty()) continue;
    text += fmt::format(
        "\n<details><summary>{}</summary>\n\n"
        "| metric | before | after | change | allowed | outcome |\n|---|--:|--:|--:|--:|---|\n",
        MarkdownText(result.name));
    for (const MetricVerdict& verdict : result.metrics) {
      text += fmt::format("| {} | {:.4g} | {:.4g} | {} | {:.2g} | {} |\n",
                          MetricName(verdict.metric), verdict.before, verdict.after,
                          IntervalText(verdict), verdict.allowed, OutcomeName(verdict.outcome));
    }
    for (const std::string& note : result.notes) text += fmt::format("\n{}\n", MarkdownText(note));
    text += "\n</details>\n";
  }
  return text;
}

}  // namespace kvtune
