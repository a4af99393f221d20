#include "lib/report/models_table.h"

#include <fmt/format.h>

#include "lib/base/printable.h"
#include "lib/core/objective.h"
#include "lib/report/front_summary.h"
#include "lib/report/front_table.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

std::vector<std::string> CellsOf(const ModelRow& row) {
  const std::string name = PrintableLine(row.name);
  if (!row.problem.empty()) return {name, "-", "-", "-", "-", "-", PrintableLine(row.problem)};
  if (!row.recommended) return {name, "-", "-", "-", "-", "-", "no plan to recommend"};
  const ScoredPlan& plan = *row.recommended;
  const bool is_held_out = plan.held_out.has_value();
  const double loss = LossOf(plan, is_held_out ? ScoreSet::kHeldOut : ScoreSet::kCalibration);
  return {name,
          plan.name,
          fmt::format("{:.0f}", plan.cost.bytes_per_token),
          fmt::format("{:.0f} %", 100 * plan.cost.bytes_per_token / row.exact_bytes_per_token),
          fmt::format("{:.2f}", plan.cost.effective_bits),
          LossText(loss) + (is_held_out ? "" : " (calibration)"),
          ShortPlanText(plan.plan)};
}

}  // namespace

std::string ModelsTable(const std::vector<ModelRow>& rows, size_t width) {
  TextTable table({{.header = "model", .align = Align::kLeft},
                   {.header = "recommended", .align = Align::kLeft, .wraps = false},
                   {.header = "bytes/token", .rank = 2},
                   {.header = "of bf16"},
                   {.header = "eff. bits", .rank = 1},
                   {.header = "held-out loss", .align = Align::kLeft, .wraps = false},
                   {.header = "layers", .align = Align::kLeft}});
  for (const ModelRow& row : rows) table.AddRow(CellsOf(row));
  return table.Render(width);
}

}  // namespace kvtune
