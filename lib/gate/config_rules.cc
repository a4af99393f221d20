#include "lib/gate/config_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/calib/prompt_set.h"
#include "lib/core/artifacts.h"
#include "lib/core/model_options.h"
#include "lib/gate/verdict.h"

namespace kvtune {
namespace {

FieldRule Number(std::string_view name, std::string_view meaning, std::optional<double> least,
                 std::optional<double> most = std::nullopt) {
  return {.name = name,
          .type = FieldType::kNumber,
          .meaning = meaning,
          .least = least,
          .most = most,
          .choices = {},
          .fields = {}};
}

FieldRule Integer(std::string_view name, std::string_view meaning, double least) {
  return {.name = name,
          .type = FieldType::kInteger,
          .meaning = meaning,
          .least = least,
          .most = {},
          .choices = {},
          .fields = {}};
}

// A number that may use all 64 bits.
FieldRule Unsigned(std::string_view name, std::string_view meaning) {
  FieldRule rule = Integer(name, meaning, 0);
  rule.type = FieldType::kUnsigned;
  return rule;
}

FieldRule Boolean(std::string_view name, std::string_view meaning) {
  return {.name = name,
          .type = FieldType::kBoolean,
          .meaning = meaning,
          .least = {},
          .most = {},
          .choices = {},
          .fields = {}};
}

FieldRule Text(std::string_view name, Presence presence, std::string_view meaning) {
  return {.name = name,
          .type = FieldType::kString,
          .presence = presence,
          .meaning = meaning,
          .least = 1,
          .most = {},
          .choices = {},
          .fields = {}};
}

template <typename Table>
std::vector<std::string_view> ChoicesOf(const Table& table) {
  std::vector<std::string_view> choices;
  for (const auto& entry : table) choices.push_back(entry.word);
  return choices;
}

FieldRule Choice(std::string_view name, std::vector<std::string_view> choices,
                 std::string_view meaning) {
  return {.name = name,
          .type = FieldType::kString,
          .meaning = meaning,
          .least = {},
          .most = {},
          .choices = std::move(choices),
          .fields = {}};
}

FieldRule Object(std::string_view name, Presence presence, std::string_view meaning,
                 std::vector<FieldRule> fields) {
  return {.name = name,
          .type = FieldType::kObject,
          .presence = presence,
          .meaning = meaning,
          .least = {},
          .most = {},
          .choices = {},
          .fields = std::move(fields)};
}

void RequireRange(const JsonFields& fields, const FieldRule& rule, double value) {
  if (rule.least && value < *rule.least) {
    fields.Fail(rule.name, fmt::format("found {}, expected at least {}", value, *rule.least));
  }
  if (rule.most && value > *rule.most) {
    fields.Fail(rule.name, fmt::format("found {}, expected at most {}", value, *rule.most));
  }
}

void RequireRule(JsonFields& fields, const FieldRule& rule) {
  switch (rule.type) {
    case FieldType::kString: {
      const std::string text = fields.String(rule.name);
      if (rule.least && text.empty()) fields.Fail(rule.name, "found \"\", expected a text");
      if (!rule.choices.empty() && std::ranges::find(rule.choices, text) == rule.choices.end()) {
        fields.Fail(rule.name, fmt::format("found \"{}\", expected {}", text,
                                           fmt::join(rule.choices, " or ")));
      }
      return;
    }
    case FieldType::kStrings:
      if (fields.Strings(rule.name).empty())
        fields.Fail(rule.name, "found [], expected one at least");
      return;
    case FieldType::kUnsigned:
      fields.Unsigned(rule.name);
      return;
    case FieldType::kBoolean:
      fields.Bool(rule.name);
      return;
    case FieldType::kInteger:
      return RequireRange(fields, rule, static_cast<double>(fields.Integer(rule.name)));
    case FieldType::kNumber:
      return RequireRange(fields, rule, fields.Number(rule.name));
    case FieldType::kObject: {
      JsonFields inner = fields.Object(rule.name);
      return RequireRules(inner, rule.fields);
    }
  }
}

Json SchemaOf(const FieldRule& rule) {
  constexpr const char* kTypes[] = {"string", "array",  "integer", "integer",
                                    "number", "object", "boolean"};
  Json schema = {{"description", rule.meaning}};
  if (rule.type == FieldType::kObject) {
    schema.update(SchemaOf(rule.fields));
    return schema;
  }
  schema["type"] = kTypes[static_cast<size_t>(rule.type)];
  if (rule.type == FieldType::kStrings) {
    schema["items"] = {{"type", "string"}};
    schema["minItems"] = 1;
  } else if (rule.type == FieldType::kString) {
    if (rule.least) schema["minLength"] = 1;
    if (!rule.choices.empty()) schema["enum"] = rule.choices;
  } else {
    if (rule.least) schema["minimum"] = *rule.least;
    if (rule.most) schema["maximum"] = *rule.most;
  }
  return schema;
}

std::vector<FieldRule> MakeRules() {
  const auto version = static_cast<double>(kSchemaVersion);
  FieldRule schema_version = Integer("schema_version", "Of this file", version);
  schema_version.presence = Presence::kRequired;
  schema_version.most = version;
  FieldRule prompts{.name = "prompts",
                    .type = FieldType::kStrings,
                    .presence = Presence::kRequired,
                    .meaning = "Prompt files, or \"bundled\" alone: the bundled calibration set",
                    .least = {},
                    .most = {},
                    .choices = {},
                    .fields = {}};
  return {
      std::move(schema_version),
      Text("name", Presence::kRequired,
           "Of the gate, in reports and in the baseline; no two configs have the same"),
      Text("model", Presence::kRequired,
           "Checkpoint directory, relative to this file as are all paths"),
      Text("model_hash", Presence::kRequired, "Content of the model's configuration and weights"),
      Text("target", Presence::kRequired, "Serving engine, a name that `kvtune targets` lists"),
      Text("plan", Presence::kRequired, "A plan spec: written out, an exported file or RUN:NAME"),
      std::move(prompts),
      Text("prompts_hash", Presence::kRequired, "Of the token ids that are scored"),
      Integer("max_prompts", "At most so many prompts, chosen by the seed (default: all)", 1),
      Integer("max_tokens", "At most so many tokens in all (default: 16384)", 1),
      Choice("long_prompts", ChoicesOf(kLongPromptWords),
             "What becomes of a prompt that is longer than the model's context (default: refuse)"),
      Text("prompt_template", Presence::kOptional,
           "How keys of JSON prompts become a text, as --prompt-template"),
      Unsigned("seed", "Of the choice of prompts (default: 0)"),
      Integer("context", "Tokens at which bytes are counted (default: 8192)", 1),
      Choice("prefill", ChoicesOf(kPrefillWords),
             "What attention reads during the prompt (default: quantized)"),
      Choice("scales", ChoicesOf(kCacheScaleWords),
             "Where static scales of the cache come from (default: calibrated)"),
      Object("task", Presence::kOptional,
             "Items that the model answers under the plan; their share of right answers is the "
             "metric accuracy",
             {Text("file", Presence::kRequired, "A task file, or a file of items"),
              Integer("limit", "Use the first so many items only (default: all)", 1),
              Integer("fewshot", "Solved questions in front of each (default: the task's)", 0),
              Boolean("apply_chat_template",
                      "Make shots and question the turns of a chat, in the model's own template "
                      "(default: false)"),
              Choice("against", ChoicesOf(kAnswerReferenceWords),
                     "Whose answers the plan's are compared with, item by item: those in the "
                     "baseline, or those of the same model with an exact cache, which answers "
                     "anew every time (default: baseline)")}),
      Object("limits", Presence::kRequired, "What the plan must hold, whatever the baseline was",
             {Number("kl_mean", "Highest mean KL, nats per token", 0),
              Number("kl_p999", "Highest 99.9th percentile of the KL, nats", 0),
              Number("top1_agreement", "Lowest share of tokens with the exact model's first choice",
                     0, 1),
              Number("delta_nll", "Highest change of the negative log-likelihood, nats per token",
                     std::nullopt),
              Number("bytes_per_token", "Most bytes of KV cache per token", 0),
              Number("accuracy", "Lowest share of the task's items that are answered right", 0, 1),
              Object("relative", Presence::kOptional,
                     "By which share of the baseline's value it may rise",
                     {Number("kl_mean", "Default: 0.02", 0), Number("kl_p999", "Default: 0.05", 0),
                      Number("bytes_per_token", "Default: 0", 0)})}),
      Object(
          "tolerance", Presence::kOptional,
          "How far a metric may get worse in its own unit, in addition to the share of "
          "limits.relative",
          {Number("kl_mean", "Default: 1e-6", 0), Number("kl_p999", "Default: 1e-4", 0),
           Number("top1_agreement", "Default: 5e-4", 0, 1), Number("delta_nll", "Default: 1e-4", 0),
           Number("bytes_per_token", "Default: 0", 0), Number("accuracy", "Default: 0", 0, 1)}),
      Number("confidence", "Of the interval of a change (default: 0.99)", 0.5, 0.9999)};
}

}  // namespace

const std::vector<FieldRule>& GateConfigRules() {
  static const std::vector<FieldRule> rules = MakeRules();
  return rules;
}

void RequireRules(JsonFields& fields, std::span<const FieldRule> rules) {
  const std::vector<std::string> keys = fields.Keys();
  for (const FieldRule& rule : rules) {
    fields.Ignore(rule.name);
    const bool found = std::ranges::find(keys, rule.name) != keys.end();
    if (found || rule.presence == Presence::kRequired) RequireRule(fields, rule);
  }
  fields.RequireNoOthers();
}

Json SchemaOf(std::span<const FieldRule> rules) {
  Json schema = {{"type", "object"},
                 {"additionalProperties", false},
                 {"required", Json::array()},
                 {"properties", Json::object()}};
  for (const FieldRule& rule : rules) {
    if (rule.presence == Presence::kRequired) schema["required"].push_back(rule.name);
    schema["properties"][std::string(rule.name)] = SchemaOf(rule);
  }
  return schema;
}

}  // namespace kvtune
