// llama.cpp: one type for all keys and one for all values (common/arg.cpp).
#include <fmt/format.h>

#include <array>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kQ8_0, KvFormatId::kQ5_1, KvFormatId::kQ5_0,
                                 KvFormatId::kQ4_1, KvFormatId::kQ4_0, KvFormatId::kIq4Nl};
constexpr std::array<FormatWord, 9> kWords = {{{"f16", KvFormatId::kExact},
                                               {"bf16", KvFormatId::kExact},
                                               {"f32", KvFormatId::kExact},
                                               {"q8_0", KvFormatId::kQ8_0},
                                               {"q5_1", KvFormatId::kQ5_1},
                                               {"q5_0", KvFormatId::kQ5_0},
                                               {"q4_1", KvFormatId::kQ4_1},
                                               {"q4_0", KvFormatId::kQ4_0},
                                               {"iq4_nl", KvFormatId::kIq4Nl}}};

struct Flag {
  const char* brief;
  const char* full;
};
constexpr Flag kKeys{"-ctk", "--cache-type-k"};
constexpr Flag kValues{"-ctv", "--cache-type-v"};
// Of ik_llama.cpp, whose lines look alike otherwise.
constexpr std::array kOtherFlags = {"-khad",     "-vhad",      "-ctk-first",
                                    "-ctk-last", "-ctv-first", "-ctv-last"};

// Values in a quantized type need flash attention.
std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  const PrecisionPair pair = plan.plan.layers.front();
  return fmt::format("-fa on {} {} {} {}\n", kKeys.brief, WordOf(kWords, pair.key), kValues.brief,
                     WordOf(kWords, pair.value));
}

bool Recognizes(std::string_view content) {
  const CommandLine line(content, "");
  for (const char* flag : kOtherFlags) {
    if (line.Has(flag)) return false;
  }
  return line.Has(kKeys.brief) || line.Has(kKeys.full) || line.Has(kValues.brief) ||
         line.Has(kValues.full);
}

KvFormatId TypeOf(const CommandLine& line, Flag flag) {
  const char* given = line.Has(flag.full) ? flag.full : flag.brief;
  const std::string word = line.WordAfter(given).value_or("f16");
  if (const auto format = FormatOfWord(kWords, word)) return *format;
  line.Fail(given, fmt::format("found {}, expected one of {}", word, WordsOf(kWords)));
}

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  const CommandLine line(content, source);
  return PrecisionPlan::Uniform({TypeOf(line, kKeys), TypeOf(line, kValues)}, layer_count);
}

// f16 on one side is allowed, but nothing that a search would find out.
std::vector<PrecisionPair> WithExactSides() {
  std::vector<KvFormatId> formats = {KvFormatId::kExact};
  formats.insert(formats.end(), kFormats.begin(), kFormats.end());
  return AllPairs(formats);
}

}  // namespace

Engine LlamaCppEngine() {
  return {
      .target =
          {.name = "llama.cpp",
           .description =
               "llama.cpp: one type for keys, one for values; heads rotated where they can be",
           .shape = {ShapeKind::kOnePair, WithExactSides()},
           .pairs = AllPairs(kFormats)},
      .exports = {{.summary = {"llama.cpp", "arguments of llama-server"},
                   .write = Write,
                   .recognizes = Recognizes,
                   .read = Read}},
  };
}

}  // namespace kvtune
