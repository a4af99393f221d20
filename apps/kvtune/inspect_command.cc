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
#include "lib/report/front_table.h"
#include "lib/report/text_table.h"
#include "lib/runner/device.h"
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
  ScoredPlan plan;            // named "exact", "KV4"; costs at the context that was asked for, no scores
  std::vector<double> bytes;  // of a whole sequence, by kContexts
};

struct Inspection {
  std::string name;
  ModelConfig config;
  int64_t parameters = 0;
  std::optional<Weights> weights;  // nullopt: only config.json is there
  DeviceDescription device;
  std::vector<CacheCost> caches;
};

int64_t MlpParameters(const ModelConfig& config, const LayerConfig& layer) {
  if (!layer.has_experts) {
    const int64_t biases = config.mlp_bias ? 2 * config.intermediate_size + config.hidden_size : 0;
    return 3 * config.hidden_size * config.intermediate_size + biases;
  }
  const ExpertConfig& experts = config.experts;
  const bool biased = experts.layout == ExpertLayout::kGptOss;
  const int64_t expert = 3 * config.hidden_size * experts.intermediate_size +
                         (biased ? 2 * experts.intermediate_size + config.hidden_size : 0);
  const int64_t router = config.hidden_size + (biased ? 1 : 0);
  return experts.count * (expert + router);
}

int64_t NormParameters(const ModelConfig& config, const LayerConfig& layer) {
  const int64_t blocks = config.norm_placement == NormPlacement::kAround ? 4 : 2;
  const int64_t norms = blocks * config.hidden_size;
  switch (config.query_key_norm) {
    case QueryKeyNorm::kNone: return norms;
    case QueryKeyNorm::kPerHead: return norms + 2 * layer.key_head_dim;
    case QueryKeyNorm::kWholeWidth:
      return norms + config.query_heads * layer.key_head_dim + layer.kv_width(KvSide::kKey);
  }
  return norms;
}

int64_t AttentionParameters(const ModelConfig& config, const LayerConfig& layer) {
  const int64_t projected = config.query_heads * layer.key_head_dim +
                            layer.kv_width(KvSide::kKey) + layer.kv_width(KvSide::kValue);
  int64_t count = config.hidden_size * (projected + config.query_heads * layer.value_head_dim);
  if (config.query_key_value_bias) count += projected;
  if (config.output_bias) count += config.hidden_size;
  if (config.attention_sinks) count += config.query_heads;
  return count;
}

int64_t ParameterCount(const ModelConfig& config) {
  const int64_t embedding = config.vocab_size * config.hidden_size;
  int64_t count = embedding * (config.tied_embeddings ? 1 : 2) + config.hidden_size;
  for (const LayerConfig& layer : config.layers) {
    count += AttentionParameters(config, layer) + MlpParameters(config, layer) +
             NormParameters(config, layer);
  }
  return count;
}

bool HasWeightFiles(const fs::path& model) {
  const auto entries = fs::directory_iterator(model);
  return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    return entry.path().extension() == ".safetensors" ||
           entry.path().filename() == "model.safetensors.index.json";
  });
}

CacheCost CostOfPair(PrecisionPair pair, const Target& target, const ModelConfig& config, int64_t context) {
  const PrecisionPlan plan =
      PrecisionPlan::Uniform(pair, static_cast<size_t>(config.layer_count()));
  CacheCost cost;
  cost.plan = {.name = PairLabel(pair), .plan = plan, .cost = CostOf(plan, config, context), .calibration = {}};
  cost.plan.cost.padded_bytes_per_token = PaddedBytesPerToken(target, plan, config, context);
  for (const int64_t tokens : kContexts) {
    cost.bytes.push_back(CostOf(plan, config, tokens).bytes_per_token *
                         static_cast<double>(tokens));
  }
  return cost;
}

// --model is a checkpoint directory, or a config.json without one.
Inspection Inspect(const InspectArguments& arguments) {
  Inspection inspection;
  const bool is_file = fs::is_regular_file(arguments.model);
  const fs::path directory =
      is_file ? fs::absolute(arguments.model).parent_path() : arguments.model;
  inspection.name = ModelName(directory);
  inspection.config = ReadModelConfig(is_file ? arguments.model : directory / "config.json");
  const Target target = TargetFor(FindTarget(arguments.target), inspection.config);
  inspection.parameters = ParameterCount(inspection.config);
  inspection.device = DescribeDevice(arguments.device);
  if (!is_file && HasWeightFiles(directory)) {
    const Checkpoint checkpoint(directory);
    inspection.weights = {checkpoint.weight_bytes(), checkpoint.shard_count()};
  }
  inspection.caches.push_back(CostOfPair(kExactPair, target, inspection.config, arguments.context));
  for (const PrecisionPair pair : target.pairs) {
    inspection.caches.push_back(CostOfPair(pair, target, inspection.config, arguments.context));
  }
  return inspection;
}

bool FitsDevice(const Inspection& inspection) {
  return inspection.parameters * inspection.device.bytes_per_weight < inspection.device.free_bytes;
}

uint64_t MemoryBytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(::sysconf(_SC_PAGE_SIZE));
}

// The shortest list of windows that, repeated, gives those of all layers.
std::vector<int64_t> RepeatedWindows(const ModelConfig& config) {
  std::vector<int64_t> windows;
  for (const LayerConfig& layer : config.layers) windows.push_back(layer.window_tokens);
  for (size_t period = 1; period < windows.size(); ++period) {
    const auto shifted = windows.begin() + static_cast<ptrdiff_t>(period);
    if (std::equal(shifted, windows.end(), windows.begin())) {
      windows.resize(period);
      return windows;
    }
  }
  return windows;
}

// "all layers full", "5 layers of 512 tokens, 1 full, and so on".
std::string WindowText(const ModelConfig& config) {
  const std::vector<int64_t> windows = RepeatedWindows(config);
  const auto kind = [](int64_t window) {
    return window == 0 ? std::string("full") : fmt::format("sliding over {} tokens", window);
  };
  if (windows.size() == 1) return "all layers " + kind(windows[0]);
  std::string text;
  for (size_t begin = 0, end = 0; begin < windows.size(); begin = end) {
    while (end < windows.size() && windows[end] == windows[begin]) ++end;
    text += fmt::format("{}{} {}", begin == 0 ? "" : ", ", end - begin, kind(windows[begin]));
  }
  return windows.size() < config.layers.size() ? text + ", and so on" : text;
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
  const int decimals = unit == 0 || count >= 100 ? 0 : count >= 10 ? 1 : 2;
  return fmt::format("{:.{}f}{}", count, decimals, kUnits[unit]);
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
  const LayerConfig& layer = config.layers.front();
  std::string experts;
  if (config.experts.count > 0) {
    experts = fmt::format("  experts:    {} of {} a token, of width {}\n", config.experts.per_token,
                          config.experts.count, config.experts.intermediate_size);
  }
  return fmt::format(
      "{}: {}, {} layers\n"
      "  attention:  {} query heads, {} KV heads, head_dim {}\n"
      "  windows:    {}\n"
      "  sizes:      hidden {}, intermediate {}, vocabulary {}, context {}\n"
      "{}"
      "  parameters: {}\n"
      "  weights:    {}\n"
      "  memory:     {} in float32, {} in bfloat16; {} has {} free: {} {}\n",
      inspection.name, config.architecture, config.layer_count(), config.query_heads,
      layer.kv_heads, layer.key_head_dim, WindowText(config), config.hidden_size,
      config.intermediate_size, config.vocab_size, config.max_position_embeddings, experts,
      CountText(parameters), weights, SizeText(4 * parameters), SizeText(2 * parameters),
      inspection.device.name, SizeText(static_cast<double>(inspection.device.free_bytes)),
      inspection.device.data_type_name, FitsDevice(inspection) ? "fits" : "does not fit");
}

std::string CacheText(const Inspection& inspection, const InspectArguments& arguments) {
  std::vector<Column> columns = {{"KV cache", Align::kLeft}, {"eff. bits"}, {"bytes/token"}};
  for (const int64_t tokens : kContexts) columns.push_back({fmt::format("{}k", tokens / 1024)});
  TextTable table(std::move(columns));
  std::vector<ScoredPlan> plans;
  for (const CacheCost& cache : inspection.caches) {
    plans.push_back(cache.plan);
    std::vector<std::string> cells = {cache.plan.plan.is_exact() ? "bf16" : cache.plan.name,
                                      fmt::format("{:.2f}", cache.plan.cost.effective_bits),
                                      fmt::format("{:.0f}", cache.plan.cost.bytes_per_token)};
    for (const double bytes : cache.bytes) cells.push_back(SizeText(bytes));
    table.AddRow(std::move(cells));
  }
  return table.Render(TerminalWidth()) +
         fmt::format("Target {}; bytes per token at a context of {} tokens, the rest for one "
                     "sequence.\n",
                     arguments.target, arguments.context) +
         PaddingSentence(plans, arguments.target);
}

Json ToJson(const Inspection& inspection, const InspectArguments& arguments) {
  const ModelConfig& config = inspection.config;
  Json caches = Json::array();
  for (const CacheCost& cache : inspection.caches) {
    Json bytes = Json::object();
    for (size_t i = 0; i < cache.bytes.size(); ++i) {
      bytes[fmt::format("{}", kContexts[i])] = cache.bytes[i];
    }
    const PlanCost& cost = cache.plan.cost;
    caches.push_back({{"name", cache.plan.name},
                      {"nominal_bits", cost.nominal_bits},
                      {"effective_bits", cost.effective_bits},
                      {"bytes_per_token", cost.bytes_per_token},
                      {"bytes_at_context", std::move(bytes)}});
    if (cost.padded_bytes_per_token) caches.back()["padded_bytes_per_token"] = *cost.padded_bytes_per_token;
  }
  Json windows = Json::array();
  for (const LayerConfig& layer : config.layers) windows.push_back(layer.window_tokens);
  Json document = NewDocument();
  document.update(Json{{"model", inspection.name},
                       {"architecture", config.architecture},
                       {"layer_count", config.layer_count()},
                       {"query_heads", config.query_heads},
                       {"kv_heads", config.layers.front().kv_heads},
                       {"head_dim", config.layers.front().key_head_dim},
                       {"window_tokens", std::move(windows)},
                       {"hidden_size", config.hidden_size},
                       {"intermediate_size", config.intermediate_size},
                       {"vocab_size", config.vocab_size},
                       {"max_position_embeddings", config.max_position_embeddings},
                       {"parameters", inspection.parameters},
                       {"weight_bytes", nullptr},
                       {"shards", nullptr},
                       {"memory_bytes", MemoryBytes()},
                       {"device", inspection.device.name},
                       {"device_free_bytes", inspection.device.free_bytes},
                       {"fits_device", FitsDevice(inspection)},
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
