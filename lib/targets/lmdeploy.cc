// LMDeploy: one quantization policy for all layers (lmdeploy/messages.py, QuantPolicy).
#include <fmt/format.h>

#include <array>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kLmdeployInt8, KvFormatId::kFp8E4m3,
                                 KvFormatId::kFp8E5m2, KvFormatId::kLmdeployInt4};
constexpr std::array<FormatWord, 5> kPolicies = {{{"0", KvFormatId::kExact},
                                                  {"4", KvFormatId::kLmdeployInt4},
                                                  {"8", KvFormatId::kLmdeployInt8},
                                                  {"16", KvFormatId::kFp8E4m3},
                                                  {"17", KvFormatId::kFp8E5m2}}};

constexpr const char* kFlag = "--quant-policy";
constexpr std::string_view kField = "quant_policy";

std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  return fmt::format("{} {}\n", kFlag, WordOf(kPolicies, plan.plan.layers.front().key));
}

bool Recognizes(std::string_view content) {
  return CommandLine(content, "").Has(kFlag) || content.find(kField) != std::string_view::npos;
}

// "quant_policy=8", as in Python, or "quant_policy: 8".
std::string PolicyOfField(std::string_view content) {
  size_t at = content.find(kField) + kField.size();
  while (at < content.size() &&
         std::string_view(" =:\"'").find(content[at]) != std::string_view::npos)
    ++at;
  size_t end = at;
  while (end < content.size() && content[end] >= '0' && content[end] <= '9') ++end;
  return std::string(content.substr(at, end - at));
}

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  const std::optional<std::string> flag = CommandLine(content, source).WordAfter(kFlag);
  const std::string policy = flag ? *flag : PolicyOfField(content);
  const std::optional<KvFormatId> format = FormatOfWord(kPolicies, policy);
  if (!format) {
    throw Error(fmt::format("{}: {}: found \"{}\", expected one of {}", source, kField, policy,
                            WordsOf(kPolicies)));
  }
  return PrecisionPlan::Uniform({*format, *format}, layer_count);
}

}  // namespace

Engine LmdeployEngine() {
  return {
      .target = {.name = "lmdeploy",
                 .description = "LMDeploy: one quant_policy for all layers",
                 .shape = {ShapeKind::kOnePair, AndExact(TiedPairs(kFormats))},
                 .pairs = TiedPairs(kFormats)},
      .exports = {{.summary = {"lmdeploy", "arguments of lmdeploy serve (quant_policy)"},
                   .write = Write,
                   .recognizes = Recognizes,
                   .read = Read}},
  };
}

}  // namespace kvtune
