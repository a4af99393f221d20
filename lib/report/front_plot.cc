#include "lib/report/front_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/printable.h"
#include "lib/report/front_table.h"
#include "lib/report/latency_text.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

constexpr size_t kLabelColumns = 9;  // of the loss beside the vertical axis
constexpr size_t kFewestColumns = 20;
constexpr size_t kFewestRows = 4;

struct Signs {
  std::string_view front, uniform, vertical, corner, horizontal;
};
constexpr Signs kUnicode{"●", "○", "│", "└", "─"};
constexpr Signs kAscii{"*", "o", "|", "+", "-"};

// A range of numbers along an axis of so many cells.
struct Axis {
  double low = 0, high = 1;
  size_t cells = 1;

  size_t CellOf(double value) const {
    if (high <= low) return 0;
    const double place = (value - low) / (high - low) * static_cast<double>(cells - 1);
    return static_cast<size_t>(std::lround(std::clamp(place, 0.0, static_cast<double>(cells - 1))));
  }
};

// Cells of one character each, row 0 on top.
class Canvas {
 public:
  Canvas(size_t columns, size_t rows) : cells_(rows, std::vector<std::string>(columns, " ")) {}

  void Put(size_t column, size_t row, std::string_view sign) { cells_[row][column] = sign; }
  // Writes a name behind the point in this cell, else before it, where nothing stands.
  void PutName(size_t column, size_t row, std::string_view name) {
    if (IsFree(column + 1, row, name.size())) return PutLetters(column + 1, row, name);
    if (column < name.size()) return;
    if (IsFree(column - name.size(), row, name.size())) PutLetters(column - name.size(), row, name);
  }
  std::string Row(size_t row) const {
    std::string text;
    for (const std::string& cell : cells_[row]) text += cell;
    return text.substr(0, text.find_last_not_of(' ') + 1);
  }

 private:
  bool IsFree(size_t column, size_t row, size_t count) const {
    if (column + count > cells_[row].size()) return false;
    for (size_t i = column; i < column + count; ++i) {
      if (cells_[row][i] != " ") return false;
    }
    return true;
  }
  void PutLetters(size_t column, size_t row, std::string_view letters) {
    for (size_t i = 0; i < letters.size(); ++i) cells_[row][column + i] = letters.substr(i, 1);
  }

  std::vector<std::vector<std::string>> cells_;
};

bool IsAscii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace

std::string FrontPlot(const ParetoFront& front, const PlotOptions& options) {
  const Signs& signs = options.unicode ? kUnicode : kAscii;
  const ScoreSet scores = ComparableScores(front);
  std::vector<const ScoredPlan*> plans;
  for (const ScoredPlan& plan : front.uniform) plans.push_back(&plan);
  for (const ScoredPlan& plan : front.plans) plans.push_back(&plan);
  const bool is_time = options.axis == PlotAxis::kMilliseconds;
  if (is_time && !front.latency) {
    throw Error(
        "drawing the front: found --time for a run without times, expected one of `kvtune search "
        "--objective-latency`",
        ExitCode::kUsage);
  }
  const auto cost = [&](const ScoredPlan* plan) {
    return is_time ? *plan->cost.latency_ms : plan->cost.bytes_per_token;
  };
  const auto loss = [&](const ScoredPlan* plan) { return LogLoss(LossOf(*plan, scores)); };
  const auto [fewest, most] = std::ranges::minmax(plans, {}, cost);
  const auto [least, largest] = std::ranges::minmax(plans, {}, loss);
  Axis right{cost(fewest), cost(most),
             std::max(options.width, kLabelColumns + kFewestColumns) - kLabelColumns - 2};
  // The highest row is that of the largest loss.
  Axis down{-loss(largest), -loss(least), std::max(options.height, kFewestRows)};

  Canvas canvas(right.cells, down.cells);
  for (const ScoredPlan* plan : plans) {
    const bool is_uniform =
        plan < front.uniform.data() + front.uniform.size() && plan >= front.uniform.data();
    canvas.Put(right.CellOf(cost(plan)), down.CellOf(-loss(plan)),
               is_uniform ? signs.uniform : signs.front);
  }
  for (const ScoredPlan& plan : front.uniform) {
    const std::string name = PrintableLine(plan.name);
    if (IsAscii(name)) canvas.PutName(right.CellOf(cost(&plan)), down.CellOf(-loss(&plan)), name);
  }
  std::string text;
  for (size_t row = 0; row < down.cells; ++row) {
    // Every fourth row and the last one have the loss of their middle.
    std::string label;
    if (row % 4 == 0 || row + 1 == down.cells) {
      const double place =
          down.cells > 1 ? static_cast<double>(row) / static_cast<double>(down.cells - 1) : 0;
      label = fmt::format("{:.1e}", std::pow(10, -(down.low + place * (down.high - down.low))));
    }
    text += fmt::format("{:>{}} {}{}\n", label, kLabelColumns - 1, signs.vertical, canvas.Row(row));
  }
  text += std::string(kLabelColumns, ' ') + std::string(signs.corner);
  for (size_t i = 0; i < right.cells; ++i) text += signs.horizontal;
  const std::string low = is_time ? MillisecondsText(right.low) : fmt::format("{:.0f}", right.low);
  const std::string high = is_time ? MillisecondsText(right.high) + " ms of attention"
                                   : fmt::format("{:.0f} bytes per token", right.high);
  const size_t gap =
      right.cells > low.size() + high.size() ? right.cells - low.size() - high.size() : 1;
  text += "\n" + std::string(kLabelColumns + 1, ' ') + low + std::string(gap, ' ') + high + "\n";
  return text +
         WrappedText(
             fmt::format("{} front, {} uniform plans; upwards: {}{}.\n", signs.front, signs.uniform,
                         scores == ScoreSet::kHeldOut ? "held-out " : "", Describe().word),
             options.width);
}

}  // namespace kvtune
