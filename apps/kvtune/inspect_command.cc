// kvtune inspect: what a model is and what its KV cache costs, before anything is loaded.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/core/model_config.h"
#include "lib/io/checkpoint.h"
#include "lib/report/text_table.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kContexts[] = {8192, 32768, 131072};

struct Weights {
  uint64_t bytes = 0;
  size_t shards = 0;
};

// What one way to store the cache costs.
struct CacheCost {
  std::string name;  // "exact", "KV4"
  PlanCost cost;     // at the context that was asked for
  std::vector<double> bytes;  // of a whole sequence, by kContexts
};

struct Inspection {
  std::string name;
  ModelConfig config;
  int64_t parameters = 0;
  std::optional<Weights> weights;  // nullopt: only config.json is there
  std::vector<CacheCost> caches;
};

int64_t ParameterCount(const ModelConfig& config) {
  const LayerConfig& layer = config.layers.front();
  const int64_t query_width = config.query_heads * layer.key_head_dim;
  const int64_t kv_width = layer.kv_width(KvSide::kKey);
  int64_t attention = config.hidden_size * (2 * query_width + 2 * kv_width);
  if (config.query_key_value_bias) attention += query_width + 2 * kv_width;
  if (config.output_bias) attention += config.hidden_size;
  int64_t mlp = 3 * config.hidden_size * config.intermediate_size;
  if (config.mlp_bias) mlp += 2 * config.intermediate_size + config.hidden_size;
  const int64_t norms = 2 * config.hidden_size;
  const int64_t embedding = config.vocab_size * config.hidden_size;
  const int64_t final_norm = config.hidden_size;
  return config.layer_count() * (attention + mlp + norms) + final_norm +
         embedding * (config.tied_embeddings ? 1 : 2);
}

bool HasWeightFiles(const fs::path& model) {
  const auto entries = fs::directory_iterator(model);
  return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    return entry.path().extension() == ".safetensors" ||
           entry.path().filename() == "model.safetensors.index.json";
  });
}

CacheCost CostOfPair(PrecisionPair pair, const ModelConfig& config, int64_t context) {
  const PrecisionPlan plan =
      PrecisionPlan::Uniform(pair, static_cast<size_t>(config.layer_count()));
  CacheCost cost{PairLabel(pair), CostOf(plan, config, context), {}};
  for (const int64_t tokens : kContexts) {
    cost.bytes.push_back(CostOf(plan, config, tokens).bytes_per_token *
                         static_cast<double>(tokens));
  }
  return cost;
}

Inspection Inspect(const InspectArguments& arguments) {
  Inspection inspection;
  inspection.name = ModelName(arguments.model);
  const Target& any_model = FindTarget(arguments.target);
  inspection.config = ReadModelConfig(arguments.model / "config.json");
  const Target target = TargetFor(any_model, inspection.config);
  inspection.parameters = ParameterCount(inspection.config);
  if (HasWeightFiles(arguments.model)) {
    const Checkpoint checkpoint(arguments.model);
    inspection.weights = {checkpoint.weight_bytes(), checkpoint.shard_count()};
  }
  inspection.caches.push_back(CostOfPair(kExactPair, inspection.config, arguments.context));
  for (const PrecisionPair pair : target.pairs) {
    inspection.caches.push_back(CostOfPair(pair, inspection.config, arguments.context));
  }
  return inspection;
}

uint64_t MemoryBytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(::sysconf(_SC_PAGE_SIZE));
}

// "1.50 GiB" with three digits.
std::string SizeText(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  const int decimals = unit == 0 || bytes >= 100 ? 0 : bytes >= 10 ? 1 : 2;
  return fmt::format("{:.{}f} {}", bytes, decimals, kUnits[unit]);
}

// "18.0 M" with three digits.
std::string CountText(double count) {
  constexpr const char* kUnits[] = {"", " K", " M", " B", " T"};
  size_t unit = 0;
  while (count >= 1000 && unit + 1 < std::size(kUnits)) {
    count /= 1000;
    ++unit;
  }
  return fmt::format("{:.3g}{}", count, kUnits[unit]);
}

std::string ModelText(const Inspection& inspection) {
  const ModelConfig& config = inspection.config;
  const auto parameters = static_cast<double>(inspection.parameters);
  std::string weights = "no weight files here, only config.json";
  if (inspection.weights) {
    weights = fmt::format("{} in {} file{}",
                          SizeText(static_cast<double>(inspection.weights->bytes)),
                          inspection.weights->shards, inspection.weights->shards == 1 ? "" : "s");
  }
  const bool fits = 4 * parameters < static_cast<double>(MemoryBytes());
  return fmt::format(
      "{}: {}, {} layers\n"
      "  attention:  {} query heads, {} KV heads, head_dim {}\n"
      "  sizes:      hidden {}, intermediate {}, vocabulary {}, context {}\n"
      "  parameters: {}\n"
      "  weights:    {}\n"
      "  memory:     {} in float32, {} in bfloat16; this machine has {}: float32 {}\n",
      inspection.name, config.architecture, config.layer_count(), config.query_heads,
      config.layers.front().kv_heads, config.layers.front().key_head_dim, config.hidden_size, config.intermediate_size,
      config.vocab_size, config.max_position_embeddings, CountText(parameters), weights,
      SizeText(4 * parameters), SizeText(2 * parameters),
      SizeText(static_cast<double>(MemoryBytes())), fits ? "fits" : "does not fit");
}

std::string CacheText(const Inspection& inspection, const InspectArguments& arguments) {
  std::vector<Column> columns = {{"KV cache", Align::kLeft}, {"eff. bits"}, {"bytes/token"}};
  for (const int64_t tokens : kContexts) columns.push_back({fmt::format("{}k", tokens / 1024)});
  TextTable table(std::move(columns));
  for (const CacheCost& cache : inspection.caches) {
    std::vector<std::string> cells = {cache.name == "exact" ? "bf16" : cache.name,
                                      fmt::format("{:.2f}", cache.cost.effective_bits),
                                      fmt::format("{:.0f}", cache.cost.bytes_per_token)};
    for (const double bytes : cache.bytes) cells.push_back(SizeText(bytes));
    table.AddRow(std::move(cells));
  }
  return table.Render(TerminalWidth()) +
         fmt::format("Target {}; bytes per token at a context of {} tokens, the rest for one "
                     "sequence.\n",
                     arguments.target, arguments.context);
}

Json ToJson(const Inspection& inspection, const InspectArguments& arguments) {
  const ModelConfig& config = inspection.config;
  Json caches = Json::array();
  for (const CacheCost& cache : inspection.caches) {
    Json bytes = Json::object();
    for (size_t i = 0; i < cache.bytes.size(); ++i) {
      bytes[fmt::format("{}", kContexts[i])] = cache.bytes[i];
    }
    caches.push_back({{"name", cache.name},
                      {"nominal_bits", cache.cost.nominal_bits},
                      {"effective_bits", cache.cost.effective_bits},
                      {"bytes_per_token", cache.cost.bytes_per_token},
                      {"bytes_at_context", std::move(bytes)}});
  }
  Json document = NewDocument();
  document.update(Json{{"model", inspection.name},
                       {"architecture", config.architecture},
                       {"layer_count", config.layer_count()},
                       {"query_heads", config.query_heads},
                       {"kv_heads", config.layers.front().kv_heads},
                       {"head_dim", config.layers.front().key_head_dim},
                       {"hidden_size", config.hidden_size},
                       {"intermediate_size", config.intermediate_size},
                       {"vocab_size", config.vocab_size},
                       {"max_position_embeddings", config.max_position_embeddings},
                       {"parameters", inspection.parameters},
                       {"weight_bytes", nullptr},
                       {"shards", nullptr},
                       {"memory_bytes", MemoryBytes()},
                       {"target", arguments.target},
                       {"context", arguments.context},
                       {"kv_cache", std::move(caches)}});
  if (inspection.weights) {
    document["weight_bytes"] = inspection.weights->bytes;
    document["shards"] = inspection.weights->shards;
  }
  return document;
}

}  // namespace

ExitCode RunInspect(const InspectArguments& arguments, const Invocation& invocation) {
  const Inspection inspection = Inspect(arguments);
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(inspection, arguments));
  } else {
    PrintText(ModelText(inspection) + "\n" + CacheText(inspection, arguments));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
