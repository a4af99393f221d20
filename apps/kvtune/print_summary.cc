#include "apps/kvtune/print_summary.h"

#include <utility>

#include "apps/kvtune/output.h"
#include "lib/base/bar.h"
#include "lib/report/front_summary.h"
#include "lib/report/front_table.h"
#include "lib/report/text_table.h"
#include "lib/targets/export_use.h"

namespace kvtune {

void PrintSummary(const ParetoFront& front, const std::filesystem::path& run,
                  std::optional<Diagnosis> diagnosis) {
  const size_t width = TerminalWidth();
  const SummaryOptions options{.run = ShellWord(run.string()),
                               .diagnosis = std::move(diagnosis),
                               .width = width,
                               .unicode = ShowsUnicode()};
  PrintText(FrontSummary(front, options) +
            WrappedText(UniformSentence(front) + PaddingSentence(front), width));
}

}  // namespace kvtune
