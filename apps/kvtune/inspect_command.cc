// kvtune inspect: what a model is and what its KV cache costs, before anything is loaded.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/base/printable.h"
#include "lib/core/model_config.h"
#include "lib/core/model_size.h"
#include "lib/io/checkpoint.h"
#include "lib/io/model_directory.h"
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
  ScoredPlan plan;  // named "exact", "KV4"; costs at the context that was asked for, no scores
  std::vector<double> bytes;   // of a whole sequence, by kContexts
  int64_t fitting_tokens = 0;  // that the device holds beside the weights
};

struct Inspection {
  std::string name;
  ModelConfig config;
  ModelSize size;
  std::optional<Weights> weights;  // nullopt: only config.json is there
  DeviceDescription device;
  std::vector<CacheCost> caches;

  // As an engine has them: as they are stored, or in bfloat16 where they are not here.
  double served_bytes() const {
    return weights ? static_cast<double>(weights->bytes)
                   : 2 * static_cast<double>(size.parameters());
  }
  WeightPlace place() const { return PlaceOfWeights(size, device); }
};

bool HasWeightFiles(const fs::path& model) {
  const auto entries = fs::directory_iterator(model);
  return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    return entry.path().extension() == ".safetensors" ||
           entry.path().filename() == "model.safetensors.index.json";
  });
}

CacheCost CostOfPair(PrecisionPair pair, const Target& target, const ModelConfig& config,
                     int64_t context) {
  const PrecisionPlan plan = target.shape.Uniform(pair, static_cast<size_t>(config.layer_count()));
  CacheCost cost;
  cost.plan = {.name = PairLabel(pair),
               .plan = plan,
               .cost = CostOf(target, plan, config, context),
               .calibration = {}};
  cost.plan.cost.padded_bytes_per_token = PaddedBytesPerToken(target, plan, config, context);
  for (const int64_t tokens : kContexts) {
    cost.bytes.push_back(CostOf(target, plan, config, tokens).bytes_per_token *
                         static_cast<double>(tokens));
  }
  return cost;
}

// --model is a checkpoint directory, or a config.json without one.
Inspection Inspect(const InspectArguments& arguments) {
  Inspection inspection;
  const bool is_file =
      fs::is_regular_file(arguments.model) && arguments.model.extension() != ".gguf";
  const fs::path directory =
      is_file ? fs::absolute(arguments.model).parent_path() : arguments.model;
  inspection.name = ModelName(directory);
  inspection.config = is_file ? ReadModelConfig(arguments.model) : ReadConfigOf(directory);
  const Target target = TargetFor(FindTarget(arguments.target), inspection.config);
  inspection.size = SizeOf(inspection.config);
  inspection.device = DescribeDevice(arguments.device);
  if (!is_file && HasWeightFiles(directory)) {
    const Checkpoint checkpoint(directory);
    inspection.weights = {checkpoint.weight_bytes(), checkpoint.shard_count()};
  }
  inspection.caches.push_back(CostOfPair(kExactPair, target, inspection.config, arguments.context));
  for (const PrecisionPair pair : target.pairs) {
    inspection.caches.push_back(CostOfPair(pair, target, inspection.config, arguments.context));
  }
  const double left = static_cast<double>(inspection.device.free_bytes) - inspection.served_bytes();
  for (CacheCost& cache : inspection.caches) {
    cache.fitting_tokens =
        static_cast<int64_t>(std::max(left, 0.0) / cache.plan.cost.bytes_per_token);
  }
  return inspection;
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

// "float32 fits", or what streaming takes.
std::string PlaceText(const Inspection& inspection) {
  const DeviceDescription& device = inspection.device;
  const std::string streamed = SizeText(
      static_cast<double>(device.bytes_per_weight * inspection.size.streamed_parameters()));
  switch (inspection.place()) {
    case WeightPlace::kResident:
      return device.data_type_name + " fits";
    case WeightPlace::kStreamed:
      return fmt::format("{} is streamed (--weights stream), which takes at least {}",
                         device.data_type_name, streamed);
    case WeightPlace::kNowhere:
      break;
  }
  return fmt::format("{} does not fit, nor do the {} that streaming has in memory",
                     device.data_type_name, streamed);
}

std::string ModelText(const Inspection& inspection) {
  const ModelConfig& config = inspection.config;
  const auto parameters = static_cast<double>(inspection.size.parameters());
  std::string weights = "no weight files here, only config.json";
  if (inspection.weights) {
    weights =
        fmt::format("{} in {} file{}", SizeText(static_cast<double>(inspection.weights->bytes)),
                    inspection.weights->shards, inspection.weights->shards == 1 ? "" : "s");
  }
  const LayerConfig& layer = config.layers.front();
  std::string experts;
  if (config.experts.count > 0) {
    experts = fmt::format("  experts:    {} of {} a token, of width {}\n", config.experts.per_token,
                          config.experts.count, config.experts.intermediate_size);
  }
  return fmt::format(
      "{}: {}{}, {} layers\n"
      "  attention:  {} query heads, {} KV heads, head_dim {}\n"
      "  windows:    {}\n"
      "  sizes:      hidden {}, intermediate {}, vocabulary {}, context {}\n"
      "{}"
      "  parameters: {}\n"
      "  weights:    {}\n"
      "  memory:     {} in float32, {} in bfloat16; {} has {} free: {}\n",
      PrintableLine(inspection.name), PrintableLine(config.architecture),
      config.reads_images ? ", its text model alone" : "", config.layer_count(), config.query_heads,
      layer.kv_heads, layer.key_head_dim, WindowText(config), config.hidden_size,
      config.intermediate_size, config.vocab_size, config.max_position_embeddings, experts,
      CountText(parameters), weights, SizeText(4 * parameters), SizeText(2 * parameters),
      inspection.device.name, SizeText(static_cast<double>(inspection.device.free_bytes)),
      PlaceText(inspection));
}

std::string CacheText(const Inspection& inspection, const InspectArguments& arguments) {
  std::vector<Column> columns = {{"KV cache", Align::kLeft}, {"eff. bits"}, {"bytes/token"}};
  for (const int64_t tokens : kContexts) columns.push_back({fmt::format("{}k", tokens / 1024)});
  columns.push_back({"tokens"});
  TextTable table(std::move(columns));
  std::vector<ScoredPlan> plans;
  for (const CacheCost& cache : inspection.caches) {
    plans.push_back(cache.plan);
    std::vector<std::string> cells = {cache.plan.plan.is_exact() ? "bf16" : cache.plan.name,
                                      fmt::format("{:.2f}", cache.plan.cost.effective_bits),
                                      fmt::format("{:.0f}", cache.plan.cost.bytes_per_token)};
    for (const double bytes : cache.bytes) cells.push_back(SizeText(bytes));
    cells.push_back(CountText(static_cast<double>(cache.fitting_tokens)));
    table.AddRow(std::move(cells));
  }
  return table.Render(TerminalWidth()) +
         fmt::format(
             "Target {}; bytes per token at a context of {} tokens, sizes of one sequence; tokens: "
             "that fit on {} "
             "beside {} of weights{}.\n",
             arguments.target, arguments.context, inspection.device.name,
             SizeText(inspection.served_bytes()), inspection.weights ? "" : " (bfloat16)") +
         PaddingSentence(plans, arguments.target);
}

Json ModeToJson(WeightPlace place) {
  if (place == WeightPlace::kNowhere) return nullptr;
  return place == WeightPlace::kResident ? "resident" : "stream";
}

std::string_view NameOf(RopeType type) {
  switch (type) {
    case RopeType::kDefault:
      return "default";
    case RopeType::kLinear:
      return "linear";
    case RopeType::kLlama3:
      return "llama3";
    case RopeType::kYarn:
      return "yarn";
    case RopeType::kLongRope:
      return "longrope";
  }
  return "default";
}

// The numbers that its type looks at.
Json RopeToJson(const RopeConfig& rope) {
  Json json = {{"type", NameOf(rope.type)}, {"theta", rope.theta}, {"rotary_dim", rope.rotary_dim}};
  if (rope.type == RopeType::kDefault) return json;
  json["factor"] = rope.factor;
  json["attention_factor"] = rope.attention_factor;
  json["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  if (rope.type == RopeType::kLlama3) {
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
  } else if (rope.type == RopeType::kYarn) {
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    json["truncated"] = rope.truncated;
  } else if (rope.type == RopeType::kLongRope) {
    json["short_factor"] = rope.short_factor;
    json["long_factor"] = rope.long_factor;
  }
  return json;
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
                      {"bytes_at_context", std::move(bytes)},
                      {"fitting_tokens", cache.fitting_tokens}});
    if (cost.padded_bytes_per_token)
      caches.back()["padded_bytes_per_token"] = *cost.padded_bytes_per_token;
  }
  Json windows = Json::array();
  Json rope_of_layers = Json::array();
  for (const LayerConfig& layer : config.layers) {
    windows.push_back(layer.window_tokens);
    rope_of_layers.push_back(layer.rope ? Json(*layer.rope) : Json(nullptr));
  }
  Json ropes = Json::array();
  for (const RopeConfig& rope : config.ropes) ropes.push_back(RopeToJson(rope));
  Json document = NewDocument();
  document.update(Json{{"model", inspection.name},
                       {"architecture", config.architecture},
                       {"layer_count", config.layer_count()},
                       {"query_heads", config.query_heads},
                       {"kv_heads", config.layers.front().kv_heads},
                       {"head_dim", config.layers.front().key_head_dim},
                       {"window_tokens", std::move(windows)},
                       {"rope", std::move(ropes)},
                       {"rope_of_layer", std::move(rope_of_layers)},
                       {"attention_scale", config.attention_scale},
                       {"tied_embeddings", config.tied_embeddings},
                       {"reads_images", config.reads_images},
                       {"hidden_size", config.hidden_size},
                       {"intermediate_size", config.intermediate_size},
                       {"vocab_size", config.vocab_size},
                       {"max_position_embeddings", config.max_position_embeddings},
                       {"parameters", inspection.size.parameters()},
                       {"weight_bytes", nullptr},
                       {"shards", nullptr},
                       {"memory_bytes", MemoryBytes()},
                       {"device", inspection.device.name},
                       {"device_free_bytes", inspection.device.free_bytes},
                       {"fits_device", inspection.place() == WeightPlace::kResident},
                       {"weights_mode", ModeToJson(inspection.place())},
                       {"streamed_bytes",
                        inspection.device.bytes_per_weight * inspection.size.streamed_parameters()},
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
