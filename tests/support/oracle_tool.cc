// What the Python oracles (scripts/oracles/) compare: raw numbers of the runner, as binary files.
//
//   oracle_tool logits MODEL_DIR IDS_FILE OUT_FILE     ids: text, separated by blanks; out: float32
//   oracle_tool fake-quantize FORMAT key|value COUNT TOKENS HEAD_DIM IN_FILE OUT_FILE   float32
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/kv_format.h"
#include "lib/io/checkpoint.h"
#include "lib/runner/fake_quantize_cpu.h"
#include "lib/runner/model_runner.h"

namespace kvtune {
namespace {

void WriteFloats(const std::string& path, const std::vector<float>& values) {
  WriteFileAtomically(path, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

std::vector<float> ReadFloats(const std::string& path) {
  const std::string content = ReadFile(path);
  std::vector<float> values(content.size() / sizeof(float));
  std::memcpy(values.data(), content.data(), values.size() * sizeof(float));
  return values;
}

void DumpLogits(const std::string& model, const std::string& ids_file, const std::string& out_file) {
  std::istringstream text(ReadFile(ids_file));
  TokenIds ids;
  for (int32_t id = 0; text >> id;) ids.push_back(id);
  const Checkpoint checkpoint(model);
  RunnerOptions options;
  options.device = "cpu";
  ModelRunner runner(checkpoint, options);
  WriteFloats(out_file, runner.Logits(ids, PrecisionPlan::Uniform(kExactPair, static_cast<size_t>(
                                                                                   runner.config().layer_count()))));
}

void DumpFakeQuantized(char** arguments) {
  const auto id = FindFormat(arguments[0]);
  if (!id) throw Error(std::string("oracle_tool: unknown format ") + arguments[0]);
  const KvFormat& format = FormatOf(*id);
  const QuantLayout& layout = format.layout(std::strcmp(arguments[1], "key") == 0 ? KvSide::kKey : KvSide::kValue);
  const int64_t count = std::atoll(arguments[2]), tokens = std::atoll(arguments[3]), head_dim = std::atoll(arguments[4]);
  std::vector<float> values = ReadFloats(arguments[5]);
  if (static_cast<int64_t>(values.size()) != count * tokens * head_dim) throw Error("oracle_tool: wrong input size");
  if (layout.axis == QuantAxis::kPerChannel) {
    FakeQuantizeColumns(values.data(), values.data(), count, tokens, head_dim, layout.group_size, format.bits);
  } else {
    FakeQuantizeRows(values.data(), values.data(), count * tokens, head_dim,
                     layout.group_size == 0 ? head_dim : layout.group_size, format.bits);
  }
  WriteFloats(arguments[6], values);
}

}  // namespace
}  // namespace kvtune

int main(int argc, char** argv) {
  try {
    if (argc == 5 && std::strcmp(argv[1], "logits") == 0) {
      kvtune::DumpLogits(argv[2], argv[3], argv[4]);
    } else if (argc == 9 && std::strcmp(argv[1], "fake-quantize") == 0) {
      kvtune::DumpFakeQuantized(argv + 2);
    } else {
      std::fprintf(stderr, "oracle_tool: see the top of tests/support/oracle_tool.cc for its arguments\n");
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "oracle_tool: %s\n", error.what());
    return 1;
  }
  return 0;
}
