// kvtune inspect: what a model is and what its KV cache costs, before anything is loaded.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/base/printable.h"
#include "lib/base/quantity.h"
#include "lib/report/budget_text.h"
#include "lib/report/front_table.h"
#include "lib/report/text_table.h"
#include "lib/run/inspection.h"
#include "lib/runner/device.h"

namespace kvtune {
namespace {

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

// "float32 fits", or what streaming takes.
std::string PlaceText(const Inspection& inspection, const DeviceDescription& device) {
  const std::string streamed = SizeText(
      static_cast<double>(device.bytes_per_weight * inspection.size.streamed_parameters()));
  switch (PlaceOfWeights(inspection.size, device)) {
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
  std::string device;
  if (inspection.device) {
    device = fmt::format("; {} has {} free: {}", inspection.device->name,
                         SizeText(static_cast<double>(inspection.device->free_bytes)),
                         PlaceText(inspection, *inspection.device));
  }
  return fmt::format(
      "{}: {}{}, {} layers\n"
      "  attention:  {} query heads, {} KV heads, head_dim {}\n"
      "  windows:    {}\n"
      "  sizes:      hidden {}, intermediate {}, vocabulary {}, context {}\n"
      "{}"
      "  parameters: {}\n"
      "  weights:    {}\n"
      "  memory:     {} in float32, {} in bfloat16{}\n",
      PrintableLine(inspection.name), PrintableLine(config.architecture),
      config.reads_images ? ", its text model alone" : "", config.layer_count(), config.query_heads,
      layer.kv_heads, layer.key_head_dim, WindowText(config), config.hidden_size,
      config.intermediate_size, config.vocab_size, config.max_position_embeddings, experts,
      CountText(parameters), weights, SizeText(4 * parameters), SizeText(2 * parameters), device);
}

std::string NameOf(const CacheCost& cache) {
  return cache.plan.plan.is_exact() ? "bf16" : cache.plan.name;
}

// How the cache compares with bf16, and the tokens that it holds in the budget.
std::string BudgetTable(const Inspection& inspection, const MemoryBudget& budget, size_t width) {
  TextTable table({{"KV cache", Align::kLeft},
                   {"eff. bits"},
                   {"bytes/token", Align::kRight, 1},
                   {SequencesText(budget)},
                   {"fits", Align::kLeft},
                   {"tokens"},
                   {"x bf16"}});
  for (const CacheCost& cache : inspection.caches) {
    const PlanCost& cost = cache.plan.cost;
    const double bytes = cost.bytes_per_token;
    table.AddRow({NameOf(cache), fmt::format("{:.2f}", cost.effective_bits),
                  fmt::format("{:.0f}", bytes), SizeText(budget.CacheBytes(bytes)),
                  budget.Fits(bytes) ? "yes" : "no",
                  CountText(static_cast<double>(budget.FittingTokens(bytes))),
                  fmt::format("{:.1f}", inspection.exact_bytes_per_token() / bytes)});
  }
  return table.Render(width);
}

std::string PlainTable(const Inspection& inspection, size_t width) {
  std::vector<Column> columns = {{"KV cache", Align::kLeft}, {"eff. bits"}, {"bytes/token"}};
  for (const int64_t tokens : kInspectedContexts) columns.push_back({TokensText(tokens)});
  columns.push_back({"x bf16"});
  TextTable table(std::move(columns));
  for (const CacheCost& cache : inspection.caches) {
    const PlanCost& cost = cache.plan.cost;
    std::vector<std::string> cells = {NameOf(cache), fmt::format("{:.2f}", cost.effective_bits),
                                      fmt::format("{:.0f}", cost.bytes_per_token)};
    for (const double bytes : cache.bytes) cells.push_back(SizeText(bytes));
    cells.push_back(
        fmt::format("{:.1f}", inspection.exact_bytes_per_token() / cost.bytes_per_token));
    table.AddRow(std::move(cells));
  }
  return table.Render(width);
}

std::string CacheText(const Inspection& inspection, const InspectOptions& options, size_t width) {
  std::vector<ScoredPlan> plans;
  for (const CacheCost& cache : inspection.caches) plans.push_back(cache.plan);
  const std::string bytes = fmt::format("Target {}; bytes per token at a context of {} tokens",
                                        options.target, options.context);
  std::string text;
  if (inspection.budget) {
    text = BudgetTable(inspection, *inspection.budget, width) +
           WrappedText(
               fmt::format("{}; tokens: that fit beside {} of weights{}; x bf16: times the "
                           "context of bf16.\n",
                           bytes, SizeText(inspection.budget->weight_bytes),
                           inspection.weights || options.memory.weight_bytes ? "" : " (bfloat16)"),
               width) +
           WrappedText(BudgetText(*inspection.budget, inspection.exact_bytes_per_token()), width);
  } else {
    text = PlainTable(inspection, width) +
           WrappedText(fmt::format("{}, sizes of one sequence; x bf16: times the context of bf16. "
                                   "--memory SIZE or --gpu NAME says what fits.\n",
                                   bytes),
                       width);
  }
  return text + WrappedText(PaddingSentence(plans, options.target), width);
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

// What depends on this machine, where its device was asked for.
Json DeviceToJson(const Inspection& inspection) {
  if (!inspection.device) {
    return {{"memory_bytes", nullptr}, {"device", nullptr},       {"device_free_bytes", nullptr},
            {"fits_device", nullptr},  {"weights_mode", nullptr}, {"streamed_bytes", nullptr}};
  }
  const DeviceDescription& device = *inspection.device;
  const WeightPlace place = PlaceOfWeights(inspection.size, device);
  return {{"memory_bytes", MemoryBytes()},
          {"device", device.name},
          {"device_free_bytes", device.free_bytes},
          {"fits_device", place == WeightPlace::kResident},
          {"weights_mode", ModeToJson(place)},
          {"streamed_bytes", device.bytes_per_weight * inspection.size.streamed_parameters()}};
}

Json BudgetToJson(const MemoryBudget& budget, double exact_bytes_per_token) {
  return {{"memory", budget.memory_name},
          {"memory_bytes", budget.memory_bytes},
          {"weight_bytes", budget.weight_bytes},
          {"left_bytes", budget.left_bytes()},
          {"context", budget.context},
          {"parallel", budget.parallel},
          {"needs_quantization", !budget.Fits(exact_bytes_per_token)}};
}

Json ToJson(const Inspection& inspection, const InspectOptions& options) {
  const ModelConfig& config = inspection.config;
  Json caches = Json::array();
  for (const CacheCost& cache : inspection.caches) {
    Json bytes = Json::object();
    for (size_t i = 0; i < cache.bytes.size(); ++i) {
      bytes[fmt::format("{}", kInspectedContexts[i])] = cache.bytes[i];
    }
    const PlanCost& cost = cache.plan.cost;
    caches.push_back({{"name", cache.plan.name},
                      {"nominal_bits", cost.nominal_bits},
                      {"effective_bits", cost.effective_bits},
                      {"bytes_per_token", cost.bytes_per_token},
                      {"bytes_at_context", std::move(bytes)},
                      {"fitting_tokens", nullptr},
                      {"times_bf16", inspection.exact_bytes_per_token() / cost.bytes_per_token}});
    if (inspection.budget) {
      caches.back()["fitting_tokens"] = inspection.budget->FittingTokens(cost.bytes_per_token);
      caches.back()["fits"] = inspection.budget->Fits(cost.bytes_per_token);
    }
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
                       {"target", options.target},
                       {"context", options.context},
                       {"budget", nullptr},
                       {"kv_cache", std::move(caches)}});
  document.update(DeviceToJson(inspection));
  if (inspection.budget) {
    document["budget"] = BudgetToJson(*inspection.budget, inspection.exact_bytes_per_token());
  }
  if (inspection.weights) {
    document["weight_bytes"] = inspection.weights->bytes;
    document["shards"] = inspection.weights->shards;
  }
  return document;
}

}  // namespace

ExitCode RunInspect(const InspectArguments& arguments, const Invocation& invocation) {
  std::optional<DeviceDescription> device;
  if (!arguments.device.empty()) device = DescribeDevice(arguments.device);
  const Inspection inspection = InspectModel(arguments.inspect, std::move(device));
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(inspection, arguments.inspect));
  } else {
    const size_t width = TerminalWidth();
    PrintText(WrappedText(ModelText(inspection), width) + "\n" +
              CacheText(inspection, arguments.inspect, width));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
