#include "lib/report/report_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/printable.h"
#include "lib/core/front_knees.h"
#include "lib/core/objective.h"
#include "lib/report/accuracy_table.h"
#include "lib/report/diagnosis_text.h"
#include "lib/report/front_table.h"

namespace kvtune {
namespace {

// The contexts at which the page knows the exact size of a cache; it draws straight lines in
// between.
constexpr int64_t kFirstContext = 1024;
constexpr int kContexts = 11;

// The formats that the document speaks of, each once; plans and pairs name them by their index.
class FormatList {
 public:
  size_t IndexOf(KvFormatId id) {
    const auto [place, is_new] = indices_.emplace(id, indices_.size());
    if (is_new) {
      const KvFormat& format = FormatOf(id);
      formats_.push_back({{"name", format.name}, {"bits", format.bits}});
    }
    return place->second;
  }
  Json take() { return std::move(formats_); }

 private:
  std::map<KvFormatId, size_t> indices_;
  Json formats_ = Json::array();
};

double Rounded(double value) {
  const std::string text = fmt::format("{:.6g}", value);
  double rounded = 0;
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return rounded;
}

// Makes every number short and every text safe to show.
void Clean(Json& json) {
  if (json.is_number_float()) {
    json = Rounded(json.get<double>());
  } else if (json.is_string()) {
    json = PrintableText(json.get<std::string>());
  } else {
    for (Json& element : json) {
      if (element.is_structured() || element.is_string() || element.is_number_float())
        Clean(element);
    }
  }
}

Json IntervalToJson(const std::optional<Interval>& interval) {
  return interval ? Json{interval->low, interval->high} : Json(nullptr);
}

Json ScoreToJson(const PlanScore& score, const std::optional<Interval>& interval) {
  Json json = ToJson(score);
  json["loss"] = LossOf(score);
  json["interval"] = IntervalToJson(interval);
  return json;
}

std::string Trimmed(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

Json PairsToJson(const SensitivityTable& table, FormatList& formats) {
  Json pairs = Json::array();
  for (size_t i = 0; i < table.pairs.size(); ++i) {
    double bits = 0;
    for (const LayerSensitivity& layer : table.layers) bits += layer.errors[i].bits;
    pairs.push_back({{"label", PairLabel(table.pairs[i])},
                     {"key", formats.IndexOf(table.pairs[i].key)},
                     {"value", formats.IndexOf(table.pairs[i].value)},
                     {"effective_bits", bits / static_cast<double>(table.layers.size())}});
  }
  return pairs;
}

Json OutputErrors(const SensitivityTable& table) {
  Json rows = Json::array();
  for (size_t i = 0; i < table.pairs.size(); ++i) {
    Json row = Json::array();
    for (const LayerSensitivity& layer : table.layers) row.push_back(layer.errors[i].e_o);
    rows.push_back(std::move(row));
  }
  return rows;
}

// For every pair and layer the label of the pair that made it needless; null where it was kept.
Json DominatedBy(const SensitivityTable& table, const CandidateSet& candidates) {
  Json rows = Json::array();
  for (const PrecisionPair pair : table.pairs) {
    Json row(candidates.layers.size(), nullptr);
    for (const LayerCandidates& layer : candidates.layers) {
      const auto dropped = std::ranges::find(layer.dropped, pair, &DroppedPair::pair);
      if (dropped != layer.dropped.end()) row.at(layer.index) = PairLabel(dropped->dominated_by);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Json GroupOfLayers(const LayerGroups& groups, size_t layer_count) {
  Json numbers(layer_count, nullptr);
  for (size_t number = 0; number < groups.groups.size(); ++number) {
    for (const size_t layer : groups.groups[number].layers) numbers.at(layer) = number;
  }
  return numbers;
}

Json PlanToJson(const ScoredPlan& plan, std::string_view kind, const RunReport& report,
                FormatList& formats) {
  Json keys = Json::array();
  Json values = Json::array();
  for (const PrecisionPair pair : plan.plan.layers) {
    keys.push_back(formats.IndexOf(pair.key));
    values.push_back(formats.IndexOf(pair.value));
  }
  Json bytes = Json::array();
  for (int i = 0; i < kContexts; ++i)
    bytes.push_back(report.cache_bytes(plan.plan, kFirstContext << i));
  Json json = {{"name", plan.name},
               {"kind", kind},
               {"spec", PlanSpec(plan.plan)},
               {"keys", std::move(keys)},
               {"values", std::move(values)},
               {"nominal_bits", plan.cost.nominal_bits},
               {"effective_bits", plan.cost.effective_bits},
               {"bytes_per_token", plan.cost.bytes_per_token},
               {"cache_bytes", std::move(bytes)},
               {"calibration", ScoreToJson(plan.calibration, plan.calibration_interval)},
               {"held_out", nullptr}};
  if (plan.accuracy) {
    json["accuracy"] = ToJson(*plan.accuracy);
    json["accuracy"]["is_worse"] = IsWorse(*plan.accuracy);
  }
  if (plan.search_accuracy) json["search_accuracy"] = ToJson(*plan.search_accuracy);
  if (plan.cost.padded_bytes_per_token)
    json["padded_bytes_per_token"] = *plan.cost.padded_bytes_per_token;
  if (plan.cost.latency_ms) json["latency_ms"] = *plan.cost.latency_ms;
  if (plan.held_out)
    json["held_out"] = ScoreToJson(plan.held_out->score, plan.held_out->loss_interval);
  return json;
}

// The plan of the front that is this uniform plan; nullptr when there is none.
const ScoredPlan* OnFront(const ParetoFront& front, const ScoredPlan& uniform) {
  const auto found = std::ranges::find(front.plans, uniform.plan, &ScoredPlan::plan);
  return found == front.plans.end() ? nullptr : &*found;
}

bool IsUniformPlan(const ParetoFront& front, const ScoredPlan& plan) {
  return std::ranges::find(front.uniform, plan.plan, &ScoredPlan::plan) != front.uniform.end();
}

// Every plan once: a uniform plan that is on the front has the front's name as its alias.
Json PlansToJson(const RunReport& report, FormatList& formats) {
  Json plans = Json::array();
  const ParetoFront& front = *report.front;
  for (const ScoredPlan& plan : front.plans) {
    if (!IsUniformPlan(front, plan)) plans.push_back(PlanToJson(plan, "front", report, formats));
  }
  for (const ScoredPlan& plan : front.uniform) {
    plans.push_back(PlanToJson(plan, "uniform", report, formats));
    if (const ScoredPlan* same = OnFront(front, plan)) plans.back()["alias"] = same->name;
  }
  plans.push_back(PlanToJson(front.reference, "exact", report, formats));
  return plans;
}

Json OthersToJson(const std::vector<ScoredPlan>& others) {
  Json plans = Json::array();
  for (const ScoredPlan& plan : others) {
    plans.push_back({{"effective_bits", plan.cost.effective_bits},
                     {"bytes_per_token", plan.cost.bytes_per_token},
                     {"loss", LossOf(plan.calibration)}});
    if (plan.cost.latency_ms) plans.back()["latency_ms"] = *plan.cost.latency_ms;
  }
  return plans;
}

// By format, so that each description is there once.
Json ExportsToJson(const RunReport& report) {
  Json formats = Json::array();
  const auto add = [&](const ScoredPlan& plan) {
    for (const PlanExport& exported : report.exports(plan)) {
      auto place = std::find_if(formats.begin(), formats.end(), [&](const Json& format) {
        return format["format"] == exported.format;
      });
      if (place == formats.end()) {
        formats.push_back({{"format", exported.format},
                           {"description", exported.description},
                           {"plans", Json::object()}});
        place = formats.end() - 1;
      }
      Json entry = {{"command", exported.command}};
      if (!exported.content.empty()) entry["content"] = exported.content;
      if (!exported.why_not.empty()) {
        entry["why_not"] = exported.why_not;
        entry["nearest"] = exported.nearest;
      }
      (*place)["plans"][PrintableText(plan.name)] = std::move(entry);
    }
  };
  for (const ScoredPlan& plan : report.front->plans) {
    if (!IsUniformPlan(*report.front, plan)) add(plan);
  }
  for (const ScoredPlan& plan : report.front->uniform) add(plan);
  return formats;
}

Json SentencesOf(const RunReport& report) {
  Json sentences = Json::array();
  const auto add = [&](std::string sentence) {
    sentence = Trimmed(std::move(sentence));
    if (!sentence.empty()) sentences.push_back(std::move(sentence));
  };
  if (report.diagnosis) add(DiagnosisSentence(*report.diagnosis));
  if (report.front) {
    add(UniformSentence(*report.front));
    add(PaddingSentence(*report.front));
    add(LatencySentence(*report.front));
  }
  return sentences;
}

// About the plans of the front and the uniform ones, where they have answers.
Json AnswerSentencesOf(const ParetoFront& front) {
  Json sentences = Json::array();
  std::vector<ScoredPlan> answered;
  const auto add = [&](const ScoredPlan& plan) {
    // A uniform plan of the front is one plan, which the page calls by the uniform name.
    if (plan.accuracy && !std::ranges::count(answered, plan.plan, &ScoredPlan::plan))
      answered.push_back(plan);
  };
  std::ranges::for_each(front.uniform, add);
  std::ranges::for_each(front.plans, add);
  if (answered.empty() || !front.reference.accuracy) return sentences;
  std::istringstream lines(AccuracySentences(answered, front.reference) +
                           AgreementSentence(answered));
  for (std::string line; std::getline(lines, line);) sentences.push_back(line);
  return sentences;
}

std::string SearchSentence(const SearchSummary& search) {
  return fmt::format("{}, {} plans{}; it ended because {}", search.algorithm, search.distinct_plans,
                     search.exhaustive ? " (all that the groups allow)" : "", search.stop_reason);
}

Json StagesToJson(const std::vector<StageRecord>& stages) {
  Json json = Json::array();
  for (const StageRecord& stage : stages) {
    json.push_back({{"name", stage.name},
                    {"finished", stage.finished},
                    {"seconds", stage.seconds},
                    {"started", stage.started},
                    {"command", stage.command},
                    {"options", stage.options}});
  }
  return json;
}

Json MissingToJson(const std::vector<MissingPart>& missing) {
  Json json = Json::array();
  for (const MissingPart& part : missing) {
    json.push_back({{"what", part.what}, {"command", part.command}});
  }
  return json;
}

// The uniform plan of the same layers where there is one, because the page shows it by that name.
const std::string& ShownName(const ParetoFront& front, const ScoredPlan& plan) {
  const auto found = std::ranges::find(front.uniform, plan.plan, &ScoredPlan::plan);
  return found == front.uniform.end() ? plan.name : found->name;
}

}  // namespace

std::vector<std::string> FirstPlans(const ParetoFront& front) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  };
  const auto bytes = [](const ScoredPlan& plan) { return plan.cost.bytes_per_token; };
  if (!front.uniform.empty()) add(std::ranges::max_element(front.uniform, {}, bytes)->name);
  if (front.plans.empty()) return names;
  const std::vector<const ScoredPlan*> plans = FrontInBytes(front);
  const ScoredPlan* knee = Knee(plans, ComparableScores(front), front.run.noise_floor.value_or(0));
  if (knee == nullptr) knee = plans.front();
  add(ShownName(front, *knee));
  if (front.uniform.empty()) return names;
  add(std::ranges::min_element(front.uniform, {}, [&](const ScoredPlan& plan) {
        return std::abs(bytes(plan) - bytes(*knee));
      })->name);
  return names;
}

Json ReportData(const RunReport& report) {
  const auto layer_count = static_cast<size_t>(report.run.layer_count());
  FormatList formats;
  const ObjectiveWords& loss = Describe();
  Json data = {{"title", report.title},
               {"run_path", report.path},
               {"run", ToJson(report.run)},
               {"weight_bytes", report.weight_bytes ? Json(*report.weight_bytes) : Json(nullptr)},
               {"layer_count", layer_count},
               {"loss", {{"word", loss.word}, {"unit", loss.unit}}},
               {"sentences", SentencesOf(report)},
               {"missing", MissingToJson(report.missing)},
               {"stages", StagesToJson(report.stages)},
               {"scored_plans", report.scored_plans},
               {"pairs", Json::array()},
               {"output_errors", Json::array()},
               {"dominated_by", nullptr},
               {"groups", nullptr},
               {"diagnosis", nullptr},
               {"contexts", Json::array()},
               {"plans", Json::array()},
               {"answer_sentences", Json::array()},
               {"others", OthersToJson(report.others)},
               {"selected", Json::array()},
               {"exports", Json::array()}};
  for (int i = 0; i < kContexts; ++i) data["contexts"].push_back(kFirstContext << i);
  if (report.sensitivity) {
    data["pairs"] = PairsToJson(*report.sensitivity, formats);
    data["output_errors"] = OutputErrors(*report.sensitivity);
    if (report.candidates)
      data["dominated_by"] = DominatedBy(*report.sensitivity, *report.candidates);
  }
  if (report.groups) data["groups"] = GroupOfLayers(*report.groups, layer_count);
  if (report.diagnosis) {
    data["diagnosis"] = ToJson(*report.diagnosis);
    data["diagnosis"].erase("run");
  }
  if (report.front) {
    data["run"] = ToJson(report.front->run);  // with the noise floor
    data["plans"] = PlansToJson(report, formats);
    data["selected"] = FirstPlans(*report.front);
    data["answer_sentences"] = AnswerSentencesOf(*report.front);
    data["exports"] = ExportsToJson(report);
    if (report.front->search) data["search_sentence"] = SearchSentence(*report.front->search);
  }
  data["formats"] = formats.take();
  Clean(data);
  return data;
}

}  // namespace kvtune
