#include "lib/core/search_summary.h"

#include <nlohmann/json.hpp>

#include "lib/core/artifacts.h"

namespace kvtune {
namespace {

std::string_view StageName(SearchStage stage) {
  switch (stage) {
    case SearchStage::kUniformPlans:
      return "uniform";
    case SearchStage::kGroupedSearch:
      return "grouped";
    case SearchStage::kRefinement:
      return "refinement";
  }
  return "";
}

SearchStage ReadStage(JsonFields& fields) {
  const std::string name = fields.String("stage");
  for (const SearchStage stage :
       {SearchStage::kUniformPlans, SearchStage::kGroupedSearch, SearchStage::kRefinement}) {
    if (StageName(stage) == name) return stage;
  }
  fields.Fail("stage", "found \"" + name + "\", expected uniform, grouped or refinement");
}

// Of decades times bytes (and milliseconds).
constexpr double kMostVolume = 1e30;

GenerationReport GenerationFromJson(JsonFields fields) {
  GenerationReport report;
  report.stage = ReadStage(fields);
  report.generation = static_cast<int>(ReadCount(fields, "generation"));
  report.distinct_plans = fields.IntegerFrom("distinct_plans", 0);
  report.repeated_plans = fields.IntegerFrom("repeated_plans", 0);
  report.front_size = ReadCount(fields, "front_size");
  report.hypervolume = fields.NumberWithin("hypervolume", 0, kMostVolume);
  fields.RequireNoOthers();
  return report;
}

}  // namespace

Json ToJson(const SearchSummary& summary) {
  Json json = {{"algorithm", summary.algorithm},
               {"exhaustive", summary.exhaustive},
               {"stop_reason", summary.stop_reason},
               {"distinct_plans", summary.distinct_plans},
               {"prompt_scores", summary.prompt_scores},
               {"prompt_scores_saved", summary.prompt_scores_saved},
               {"surrogate_hypervolume", nullptr},
               {"generations", Json::array()}};
  if (summary.surrogate_hypervolume) {
    json["surrogate_hypervolume"] = *summary.surrogate_hypervolume;
  }
  for (const GenerationReport& report : summary.generations) {
    json["generations"].push_back({{"stage", StageName(report.stage)},
                                   {"generation", report.generation},
                                   {"distinct_plans", report.distinct_plans},
                                   {"repeated_plans", report.repeated_plans},
                                   {"front_size", report.front_size},
                                   {"hypervolume", report.hypervolume}});
  }
  if (summary.answers) {
    json["answers"] = {{"search_items", summary.answers->search_items},
                       {"test_items", summary.answers->test_items},
                       {"generated_tokens", summary.answers->generated_tokens}};
    if (!summary.answers->searched.empty()) json["answers"]["searched"] = summary.answers->searched;
  }
  return json;
}

SearchSummary SearchSummaryFromJson(JsonFields fields) {
  SearchSummary summary;
  summary.algorithm = fields.String("algorithm");
  summary.exhaustive = fields.Bool("exhaustive");
  summary.stop_reason = fields.String("stop_reason");
  summary.distinct_plans = fields.IntegerFrom("distinct_plans", 0);
  summary.prompt_scores = fields.IntegerFrom("prompt_scores", 0);
  summary.prompt_scores_saved = fields.IntegerFrom("prompt_scores_saved", 0);
  fields.Value("surrogate_hypervolume");  // required, but null without a surrogate
  if (fields.Has("surrogate_hypervolume")) {
    summary.surrogate_hypervolume = fields.NumberWithin("surrogate_hypervolume", 0, kMostVolume);
  }
  for (JsonFields& generation : fields.Objects("generations")) {
    summary.generations.push_back(GenerationFromJson(std::move(generation)));
  }
  if (fields.Has("answers")) {
    JsonFields answers = fields.Object("answers");
    summary.answers = AnswerSearch{.search_items = answers.IntegerFrom("search_items", 1),
                                   .test_items = answers.IntegerFrom("test_items", 0),
                                   .generated_tokens = answers.IntegerFrom("generated_tokens", 0)};
    if (answers.Has("searched")) summary.answers->searched = answers.Integers("searched");
    answers.RequireNoOthers();
  }
  fields.RequireNoOthers();
  return summary;
}

}  // namespace kvtune
