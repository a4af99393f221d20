#include <fmt/format.h>

#include <algorithm>

#include "lib/gate/render.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

// A cell of a markdown table.
std::string Cell(const std::string& text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c == '\n' ? ' ' : c;
  }
  return cell;
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
      table.AddRow({result.name, std::string(MetricName(verdict.metric)),
                    fmt::format("{:.4g}", verdict.before), fmt::format("{:.4g}", verdict.after),
                    IntervalText(verdict), fmt::format("{:.2g}", verdict.allowed),
                    std::string(OutcomeName(verdict.outcome))});
    }
  }
  std::string text = any ? table.Render(width) + "\n" : "";
  for (const GateResult& result : results) {
    text +=
        fmt::format("{}: {}: {}\n", result.name, GateStatusName(result.status), Sentence(result));
    for (const std::string& note : result.notes) text += fmt::format("  {}\n", note);
  }
  return text;
}

std::string GateMarkdown(std::span<const GateResult> results) {
  const auto passed = std::ranges::count(results, GateStatus::kPassed, &GateResult::status);
  std::string text =
      fmt::format("### kvtune: {} of {} plans hold\n\n| config | result | |\n|---|---|---|\n",
                  passed, results.size());
  for (const GateResult& result : results) {
    text += fmt::format("| `{}` | {} | {} |\n", Cell(result.name), GateStatusName(result.status),
                        Cell(Sentence(result)));
  }
  for (const GateResult& result : results) {
    if (result.metrics.empty()) continue;
    text += fmt::format(
        "\n<details><summary>{}</summary>\n\n"
        "| metric | before | after | change | allowed | outcome |\n|---|--:|--:|--:|--:|---|\n",
        result.name);
    for (const MetricVerdict& verdict : result.metrics) {
      text += fmt::format("| {} | {:.4g} | {:.4g} | {} | {:.2g} | {} |\n",
                          MetricName(verdict.metric), verdict.before, verdict.after,
                          IntervalText(verdict), verdict.allowed, OutcomeName(verdict.outcome));
    }
    for (const std::string& note : result.notes) text += fmt::format("\n{}\n", note);
    text += "\n</details>\n";
  }
  return text;
}

}  // namespace kvtune
