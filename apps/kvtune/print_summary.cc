#include "apps/kvtune/print_summary.h"

#include <utility>

#include "apps/kvtune/output.h"
#include "lib/base/bar.h"
#include "lib/base/printable.h"
#include "lib/report/front_summary.h"
#include "lib/report/front_table.h"
#include "lib/report/text_table.h"
#include "lib/report/trust_text.h"
#include "lib/run/plan_source.h"
#include "lib/run/summary_choice.h"
#include "lib/targets/kernels.h"

namespace kvtune {

std::string SentencesBelow(const ParetoFront& front) {
  return UniformSentence(front) + OptimismSentence(front) + EffectiveTokensSentence(front) +
         PaddingSentence(front) + KernelSentence(front);
}

void PrintSummary(const std::filesystem::path& run, std::optional<Diagnosis> diagnosis) {
  const ParetoFront front = ReadFrontByPrompt(run);
  const size_t width = TerminalWidth();
  const SummaryOptions options{.run = ShellWord(run.string()),
                               .diagnosis = std::move(diagnosis),
                               .width = width,
                               .unicode = ShowsUnicode()};
  std::string sentences = SentencesBelow(front);
  if (width == 0) sentences += TieSentence(front);  // all plans are there, with their ties
  PrintText(FrontSummary(front, ChooseForSummary(front), options) + WrappedText(sentences, width));
}

}  // namespace kvtune
