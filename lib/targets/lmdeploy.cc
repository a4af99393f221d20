// LMDeploy: one quantization policy for all layers (lmdeploy/messages.py, QuantPolicy).
#include <fmt/format.h>

#include <array>
#include <cctype>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/engine_settings.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kLmdeployInt8, KvFormatId::kFp8E4m3,
                                 KvFormatId::kFp8E5m2, KvFormatId::kLmdeployInt4};
// The numbers of --quant-policy, and the names of QuantPolicy that it takes in their place
// (lmdeploy/cli/utils.py).
constexpr std::array<FormatWord, 11> kPolicies = {{{"0", KvFormatId::kExact},
                                                   {"4", KvFormatId::kLmdeployInt4},
                                                   {"8", KvFormatId::kLmdeployInt8},
                                                   {"16", KvFormatId::kFp8E4m3},
                                                   {"17", KvFormatId::kFp8E5m2},
                                                   {"none", KvFormatId::kExact},
                                                   {"int4", KvFormatId::kLmdeployInt4},
                                                   {"int8", KvFormatId::kLmdeployInt8},
                                                   {"fp8", KvFormatId::kFp8E4m3},
                                                   {"fp8_e4m3", KvFormatId::kFp8E4m3},
                                                   {"fp8_e5m2", KvFormatId::kFp8E5m2}}};

constexpr const char* kFlag = "--quant-policy";
constexpr std::string_view kEnum = "QuantPolicy.";

std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  return fmt::format("{} {}\n", kFlag, WordOf(kPolicies, plan.plan.layers.front().key));
}

bool Recognizes(std::string_view content) { return EngineSettings(content, "").Has({kFlag}); }

// The policy as LMDeploy reads it: names may be in any case, and in Python they stand behind the
// name of their enumeration.
std::string PolicyOf(std::string word) {
  if (const size_t name = word.find(kEnum); name != std::string::npos)
    word.erase(0, name + kEnum.size());
  for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return word;
}

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  const EngineSettings settings(content, source);
  const std::string word = settings.Word({kFlag}).value();
  const std::string policy = PolicyOf(word);
  if (policy == "42" || policy == "turbo_quant") {
    settings.Fail(
        *settings.Find({kFlag}),
        fmt::format("found {}, LMDeploy's TurboQuant (keys of 4 bits, values of 2), which "
                    "kvtune does not emulate; expected one of {}",
                    word, WordsOf(kPolicies)));
  }
  const std::optional<KvFormatId> format = FormatOfWord(kPolicies, policy);
  if (!format) {
    settings.Fail(*settings.Find({kFlag}),
                  fmt::format("found \"{}\", expected one of {}", word, WordsOf(kPolicies)));
  }
  return PrecisionPlan::Uniform({*format, *format}, layer_count);
}

// LMDeploy, docs/en/quantization/kv_quant.md.
std::vector<GpuNeed> GpuNeeds() {
  std::vector<GpuNeed> needs;
  for (const KvFormatId id : {KvFormatId::kLmdeployInt8, KvFormatId::kLmdeployInt4}) {
    needs.push_back({id, 70, "its documentation lists quantized caches from Volta on"});
  }
  return needs;
}

}  // namespace

Engine LmdeployEngine() {
  return {
      .target = {.name = "lmdeploy",
                 .description = "LMDeploy: one quant_policy for all layers",
                 .shape = {ShapeKind::kOnePair, AndExact(TiedPairs(kFormats))},
                 .pairs = TiedPairs(kFormats)},
      .exports = {{.summary = {"lmdeploy", "arguments of lmdeploy serve (quant_policy)"},
                   .words = "--quant-policy, quant_policy",
                   .write = Write,
                   .recognizes = Recognizes,
                   .read = Read}},
      .gpu_needs = GpuNeeds(),
  };
}

}  // namespace kvtune
