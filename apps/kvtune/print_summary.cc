#include "apps/kvtune/print_summary.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "apps/kvtune/output.h"
#include "lib/base/bar.h"
#include "lib/base/printable.h"
#include "lib/report/accuracy_table.h"
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
         PaddingSentence(front) + LatencySentence(front) + KernelSentence(front);
}

std::string AnswersText(const ParetoFront& front) {
  std::vector<ScoredPlan> plans = front.plans;
  for (const ScoredPlan& plan : front.uniform) {
    if (std::ranges::find(front.plans, plan.plan, &ScoredPlan::plan) == front.plans.end())
      plans.push_back(plan);
  }
  const auto answered = [](const ScoredPlan& plan) { return plan.accuracy.has_value(); };
  if (!answered(front.reference) || !std::ranges::all_of(plans, answered)) return "";
  const size_t width = TerminalWidth();
  return "\n" + AccuracyTable(plans, width) +
         WrappedText((front.is_by_answers() ? SplitSentence(*front.search->answers) : "") +
                         AccuracySentences(plans, front.reference) + AgreementSentence(plans),
                     width);
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
  PrintText(FrontSummary(front, ChooseForSummary(front), options) + WrappedText(sentences, width) +
            AnswersText(front));
}

}  // namespace kvtune
