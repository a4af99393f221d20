// Writes raw numbers of the runner to binary files, which the Python oracles (scripts/oracles/)
// compare.
//
//   oracle_tool logits MODEL_DIR IDS_FILE OUT_FILE
//   oracle_tool states MODEL_DIR IDS_FILE OUT_FILE
//   oracle_tool generate MODEL_DIR PROMPTS_FILE "KV8 K4V2 exact ..." NEW_TOKENS OUT_FILE
//   oracle_tool fake-quantize JOBS_FILE
//   oracle_tool formats
//   oracle_tool architectures
//
// IDS_FILE is text with token ids separated by blanks; IN_FILE and OUT_FILE hold float32 numbers.
// PROMPTS_FILE has one prompt in each line. `generate` writes the generated tokens as text, a line
// for each prompt under the first plan, then under the second, and so on, in KVTuner's integers.
// JOBS_FILE has a line "FORMAT key|value HEADS TOKENS HEAD_DIM IN_FILE OUT_FILE" for each tensor,
// so that libtorch, which takes half a second to load, is loaded once for all of them. `states`
// writes the logits, then the keys, values and attention outputs of every layer (LayerStates).
// `formats` prints the format table as JSON, `architectures` the table of docs/models.md.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/kv_format.h"
#include "lib/core/model_families.h"
#include "lib/io/checkpoint.h"
#include "lib/kernels/fake_quantize_cpu.h"
#include "lib/runner/model_probe.h"

namespace kvtune {
namespace {

void WriteFloats(const std::string& path, const std::vector<float>& values) {
  WriteFileAtomically(
      path, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

std::vector<float> ReadFloats(const std::string& path) {
  const std::string content = ReadFile(path);
  std::vector<float> values(content.size() / sizeof(float));
  std::memcpy(values.data(), content.data(), values.size() * sizeof(float));
  return values;
}

TokenIds ReadIds(const std::string& ids_file) {
  std::istringstream text(ReadFile(ids_file));
  TokenIds ids;
  for (int32_t id = 0; text >> id;) ids.push_back(id);
  return ids;
}

enum class Dump { kLogits, kStates };

void DumpModel(Dump dump, const std::string& model, const std::string& ids_file,
               const std::string& out_file) {
  const TokenIds ids = ReadIds(ids_file);
  const Checkpoint checkpoint(model);
  ModelProbe runner(checkpoint, ModelOptions{.device = "cpu"});
  std::vector<float> values =
      runner.Logits(ids, PrecisionPlan::Uniform(kExactPair, runner.config().layers.size()));
  if (dump == Dump::kStates) {
    for (const LayerStates& layer : runner.ExactStates(ids)) {
      for (const std::vector<float>* part : {&layer.keys, &layer.values, &layer.attention}) {
        values.insert(values.end(), part->begin(), part->end());
      }
    }
  }
  WriteFloats(out_file, values);
}

std::vector<PrecisionPair> IntegerPairs() {
  std::vector<PrecisionPair> pairs;
  for (const KvFormatId key : {KvFormatId::kInt8, KvFormatId::kInt4, KvFormatId::kInt2}) {
    for (const KvFormatId value : {KvFormatId::kInt8, KvFormatId::kInt4, KvFormatId::kInt2})
      pairs.push_back({key, value});
  }
  return pairs;
}

// "KV8;0:K4V2" of KVTuner's integers, or the name of a format for both sides of all layers.
PrecisionPlan PlanOf(const std::string& spec, size_t layers) {
  if (const auto format = FindFormat(spec))
    return PrecisionPlan::Uniform({*format, *format}, layers);
  return ParsePlanSpec(spec, layers, IntegerPairs());
}

void DumpGenerated(char** arguments) {
  const Checkpoint checkpoint(arguments[0]);
  ModelRunner runner(checkpoint, ModelOptions{.device = "cpu"});
  std::vector<TokenIds> prompts;
  std::istringstream lines(ReadFile(arguments[1]));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream text(line);
    TokenIds& ids = prompts.emplace_back();
    for (int32_t id = 0; text >> id;) ids.push_back(id);
  }
  std::vector<PrecisionPlan> plans;
  std::istringstream specs(arguments[2]);
  for (std::string spec; specs >> spec;)
    plans.push_back(PlanOf(spec, runner.config().layers.size()));
  std::vector<GenerationRow> rows;
  for (size_t prompt = 0; prompt < prompts.size(); ++prompt) {
    for (size_t plan = 0; plan < plans.size(); ++plan) rows.push_back({plan, prompt});
  }
  std::vector<std::string> texts(rows.size());
  const GenerationRequest request{.plans = plans,
                                  .prompts = prompts,
                                  .rows = rows,
                                  .max_new_tokens = std::atoll(arguments[3]),
                                  .end_tokens = {},
                                  .stops = {}};
  runner.Generate(request, [&](const GeneratedRow& row) {
    std::string& text = texts[rows[row.row].plan * prompts.size() + rows[row.row].prompt];
    for (const int32_t id : row.tokens) text += std::to_string(id) + " ";
    text += "\n";
    return true;
  });
  std::string all;
  for (const std::string& text : texts) all += text;
  WriteFileAtomically(arguments[4], all);
}

// Quantizes every token, as where there is no residual window. Scales are calibrated on the input.
void DumpFakeQuantized(const std::string& job) {
  std::istringstream words(job);
  std::string name, side_name, in_file, out_file;
  HeadsShape shape{};
  if (!(words >> name >> side_name >> shape.heads >> shape.tokens >> shape.head_dim >> in_file >>
        out_file))
    throw Error("oracle_tool: no job: " + job);
  const auto id = FindFormat(name);
  if (!id) throw Error("oracle_tool: unknown format " + name);
  const KvFormat& format = FormatOf(*id);
  const KvSide side = side_name == "key" ? KvSide::kKey : KvSide::kValue;
  std::vector<float> values = ReadFloats(in_file);
  const auto head_elements = static_cast<size_t>(shape.tokens * shape.head_dim);
  if (values.size() != static_cast<size_t>(shape.heads) * head_elements)
    throw Error("oracle_tool: wrong input size");
  std::vector<float> maxima(static_cast<size_t>(shape.heads));
  for (size_t i = 0; i < values.size(); ++i) {
    float& maximum = maxima[i / head_elements];
    maximum = std::max(maximum, std::abs(values[i]));
  }
  const float largest = *std::max_element(maxima.begin(), maxima.end());
  std::fill(maxima.begin(), maxima.end(), CalibratedScale(format, largest));
  const HeadArithmetic arithmetic = HeadArithmeticOf(format, side, shape.head_dim);
  if (format.layout(side).axis == QuantAxis::kPerChannel) {
    RoundTripColumns(values.data(), shape, arithmetic);
  } else {
    RoundTripHeads(values.data(), shape, arithmetic,
                   format.scale == ScaleKind::kCalibrated ? maxima.data() : nullptr);
  }
  WriteFloats(out_file, values);
}

void DumpAllFakeQuantized(const std::string& jobs_file) {
  std::istringstream jobs(ReadFile(jobs_file));
  for (std::string job; std::getline(jobs, job);) DumpFakeQuantized(job);
}

// The format table as JSON, with one element for each format.
void DumpFormats() {
  nlohmann::json formats = nlohmann::json::array();
  for (const KvFormat& format : Formats()) {
    nlohmann::json bits = nlohmann::json::object();
    for (const int64_t head_dim : {64, 128}) {
      bits[std::to_string(head_dim)] = {EffectiveBits(format, KvSide::kKey, head_dim),
                                        EffectiveBits(format, KvSide::kValue, head_dim)};
    }
    formats.push_back({{"name", format.name}, {"effective_bits", std::move(bits)}});
  }
  std::printf("%s\n", formats.dump(1).c_str());
}

}  // namespace
}  // namespace kvtune

int main(int argc, char** argv) {
  try {
    if (argc == 5 && std::strcmp(argv[1], "logits") == 0) {
      kvtune::DumpModel(kvtune::Dump::kLogits, argv[2], argv[3], argv[4]);
    } else if (argc == 5 && std::strcmp(argv[1], "states") == 0) {
      kvtune::DumpModel(kvtune::Dump::kStates, argv[2], argv[3], argv[4]);
    } else if (argc == 7 && std::strcmp(argv[1], "generate") == 0) {
      kvtune::DumpGenerated(argv + 2);
    } else if (argc == 3 && std::strcmp(argv[1], "fake-quantize") == 0) {
      kvtune::DumpAllFakeQuantized(argv[2]);
    } else if (argc == 2 && std::strcmp(argv[1], "formats") == 0) {
      kvtune::DumpFormats();
    } else if (argc == 2 && std::strcmp(argv[1], "architectures") == 0) {
      std::printf("%s", kvtune::ArchitectureTable().c_str());
    } else {
      std::fprintf(stderr,
                   "oracle_tool: see the top of tests/support/oracle_tool.cc for its arguments\n");
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "oracle_tool: %s\n", error.what());
    return 1;
  }
  return 0;
}
