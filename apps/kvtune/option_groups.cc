#include "apps/kvtune/option_groups.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "apps/kvtune/config_file.h"
#include "lib/base/quantity.h"
#include "lib/base/suggestion.h"

namespace kvtune {
namespace {

// No run has more of anything that is counted, and the products of such numbers fit.
constexpr uint64_t kMostCount = 1'000'000'000;
// Of plans, which are in memory together.
constexpr uint64_t kMostPlans = 1'000'000;
// Of tokens: as many as a model may have positions.
constexpr uint64_t kMostTokens = uint64_t{1} << 40;

// A whole number within these bounds, also with a unit (lib/base/quantity.h). CLI11's own checks
// let "-1" through as an unsigned number and print ranges of 300 digits.
CLI::Validator WholeNumber(uint64_t smallest, uint64_t largest = kMostCount) {
  const auto read = [smallest, largest](std::string& text) -> std::string {
    const std::optional<uint64_t> number = ParseCount(text);
    if (!number || *number < smallest || *number > largest) {
      return fmt::format(
          "found \"{}\", expected a whole number from {} to {}, such as 500 or 32k (32768)", text,
          smallest, largest);
    }
    text = std::to_string(*number);
    return "";
  };
  return {read, ""};
}

// A finite number that `holds`, which `expected` says in words. CLI11's checks let NaN through.
CLI::Validator Number(bool (*holds)(double), std::string expected) {
  const auto check = [holds, expected = std::move(expected)](const std::string& text) {
    double number = 0;
    const auto [end, reason] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool complete = reason == std::errc() && end == text.data() + text.size();
    if (complete && std::isfinite(number) && holds(number)) return std::string();
    return fmt::format("found \"{}\", expected {}", text, expected);
  };
  return {check, ""};
}

// "500M", "24GiB" or a number of bytes, but not none (lib/base/quantity.h).
CLI::Validator Size() {
  const auto read = [](std::string& text) -> std::string {
    const std::optional<uint64_t> bytes = ParseSize(text);
    if (!bytes || *bytes == 0) {
      return fmt::format("found \"{}\", expected a size such as 500M, 24GiB or 24GB (10^9 bytes)",
                         text);
    }
    text = std::to_string(*bytes);
    return "";
  };
  return {read, ""};
}

}  // namespace

CLI::Option* AddWord(CLI::App& app, const std::string& flag, std::vector<std::string> words,
                     std::string_view default_word, std::function<void(const std::string&)> set,
                     const std::string& help) {
  const std::string type = fmt::format("{}", fmt::join(words, "|"));
  const auto check = [words = std::move(words)](const std::string& text) -> std::string {
    if (std::ranges::find(words, text) != words.end()) return "";
    return fmt::format("found \"{}\"{}, expected {}", text, DidYouMean(text, words),
                       fmt::join(words, ", "));
  };
  return app.add_option_function<std::string>(flag, std::move(set), help)
      ->type_name(type)
      ->check({check, ""})
      ->default_str(std::string(default_word));
}

void AddCommonOptions(CLI::App& app, CommonOptions& common) {
  app.add_flag("--json", common.json, "Result as one JSON document on stdout");
  app.add_flag("-q,--quiet", common.quiet, "Only errors on stderr");
  app.add_flag("-v,--verbose", common.verbose, "Details on stderr");
  if (app.get_option_no_throw("--config") == nullptr) AddConfigFile(app, common.print_config);
}

void AddTarget(CLI::App& app, std::string& target) {
  app.add_option("--target", target, "Serving engine to plan for (see `kvtune targets`)")
      ->type_name("NAME")
      ->capture_default_str();
}

void AddModel(CLI::App& app, std::filesystem::path& model) {
  app.add_option("DIR,--model", model, "Checkpoint directory in Hugging Face form")
      ->type_name("DIR")
      ->required();
}

void AddContext(CLI::App& app, int64_t& context) {
  app.add_option("--context", context, "Tokens at which bytes are counted, such as 8192 or 32k")
      ->type_name("TOKENS")
      ->transform(WholeNumber(1, kMostTokens))
      ->capture_default_str();
}

void AddDevice(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "auto, cpu, cuda or cuda:N")
      ->type_name("DEVICE")
      ->capture_default_str();
}

void AddMemoryOptions(CLI::App& app, MemoryOptions& memory) {
  CLI::Option* size = app.add_option("--memory", memory.memory_bytes,
                                     "Memory that weights and cache share, such as 24GiB: says "
                                     "what fits in it")
                          ->type_name("SIZE")
                          ->transform(Size());
  app.add_option("--gpu", memory.gpu, "The same by the name of a GPU, such as h100 or rtx4090")
      ->type_name("NAME")
      ->excludes(size);
  app.add_option("--parallel", memory.parallel, "Sequences that are served at a time")
      ->type_name("N")
      ->transform(WholeNumber(1))
      ->capture_default_str();
  app.add_option("--weights-size", memory.weight_bytes,
                 "Size of the weights that are served (default: as they are stored)")
      ->type_name("SIZE")
      ->transform(Size());
}

void AddSizeLimit(CLI::App& app, const std::string& flag, std::optional<double>& bytes,
                  const std::string& help) {
  app.add_option(flag, bytes, help)->type_name("N")->transform(Size());
}

void AddCount(CLI::App& app, const std::string& flag, std::optional<int64_t>& count,
              const std::string& type, const std::string& help) {
  app.add_option(flag, count, help)->type_name(type)->transform(WholeNumber(1));
}

void AddCounts(CLI::App& app, const std::string& flag, std::vector<int64_t>& counts,
               const std::string& type, const std::string& help) {
  app.add_option(flag, counts, help)
      ->type_name(type)
      ->allow_extra_args(false)
      ->transform(WholeNumber(1, kMostTokens));
}

void AddRunDirectory(CLI::App& app, std::filesystem::path& run) {
  app.add_option("RUN", run, "Run directory")->required();
}

void AddModelOptions(CLI::App& app, ModelOptions& options) {
  AddDevice(app, options.device);
  AddChoice(app, "--dtype", options.data_type, kDataTypeWords,
            "Arithmetic; auto: float32 on a CPU, bfloat16 on CUDA");
  app.add_option("--threads", options.threads,
                 "CPU threads (default: OMP_NUM_THREADS, or all cores)")
      ->type_name("N")
      ->transform(WholeNumber(1));
  AddChoice(app, "--weights", options.weights, kWeightWords,
            "In memory, or read layer by layer in every pass; auto: in memory if they fit");
  app.add_option(
         "--split-layers", options.split_layers,
         "Split the layers over N GPUs of this host from --device on; on a CPU over N parts of "
         "it (default: over as few GPUs as have room for them, where one has not)")
      ->type_name("N")
      ->transform(WholeNumber(1));
  app.add_option("--max-activation-memory", options.max_activation_bytes,
                 "Hidden states in memory at a time, the rest waits in a temporary file "
                 "(default: a quarter of the free memory)")
      ->type_name("SIZE")
      ->transform(Size());
}

void AddSeed(CLI::App& app, uint64_t& seed) {
  app.add_option("--seed", seed, "Seed of every random choice")
      ->type_name("N")
      ->transform(WholeNumber(0, UINT64_MAX))
      ->capture_default_str();
}

void AddLimit(CLI::App& app, const std::string& flag, std::optional<double>& limit,
              const std::string& unit, const std::string& help) {
  app.add_option(flag, limit, help)
      ->type_name(unit)
      ->check(Number([](double x) { return x >= 0; }, "a number from 0 on"));
}

void AddRunInputs(CLI::App& app, RunInputs& inputs) {
  AddModel(app, inputs.model);
  AddTarget(app, inputs.target);
  app.add_option("--prompts", inputs.prompts.files,
                 "Prompt file: JSON with \"text\" or \"input_ids\", or plain text; repeatable "
                 "(default: the bundled calibration set)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--max-prompts", inputs.prompts.max_prompts, "Use at most N prompts")
      ->type_name("N")
      ->transform(WholeNumber(1));
  app.add_option("--max-tokens", inputs.prompts.max_tokens, "Use at most N tokens in all")
      ->type_name("N")
      ->transform(WholeNumber(1, kMostTokens))
      ->capture_default_str();
  AddChoice(app, "--long-prompts", inputs.prompts.long_prompts, kLongPromptWords,
            "A prompt of --prompts that is longer than the model's context");
  app.add_option("--prompt-template", inputs.prompts.prompt_template,
                 "How keys of JSON prompts become a text: \"Question: {question}\\nAnswer: "
                 "{answer}\"")
      ->type_name("TEXT");
  AddSeed(app, inputs.seed);
  AddContext(app, inputs.context);
  AddModelOptions(app, inputs.running);
  app.add_option(
         "--devices", inputs.devices,
         "Share the work among GPUs of this host: a number, all, or a list such as 0,2; on a "
         "CPU a number of processes")
      ->type_name("N|all|LIST");
  AddChoice(app, "--prefill", inputs.running.prefill, kPrefillWords,
            "What attention reads during the prompt");
  AddChoice(app, "--scales", inputs.scales, kCacheScaleWords,
            "Static scales of FP8 and NVFP4 caches: from the prompts, or those of the checkpoint");
}

void AddKernels(CLI::App& app, KernelChoice& kernels) {
  kernels = KernelChoice::kDefault;
  AddChoice(app, "--kernels", kernels, kKernelWords,
            "Search pairs that the engine's default builds have kernels for, or all");
}

void AddRunPlace(CLI::App& app, RunPlace& place) {
  app.add_option("--out", place.out, "Run directory (default: ./kvtune-<model name>-<target>)")
      ->type_name("RUN");
  app.add_option("--held-out", place.held_out,
                 "Prompts to score the result on, or none (default: the bundled held-out set; "
                 "with --prompts its last quarter)")
      ->type_name("FILE");
}

void AddSensitivity(CLI::App& app, ScreeningError& screening) {
  AddChoice(app, "--sensitivity", screening, kScreeningErrorWords,
            "Error that screens pairs: of the attention output, or KL with one layer quantized");
}

void AddCalibrateOptions(CLI::App& app, CalibrateOptions& calibrate) {
  AddChoice(app, "--metric-reduction", calibrate.reduction, kMetricReductionWords,
            "How errors are reduced over elements");
}

void AddPruneOptions(CLI::App& app, PruneOptions& prune) {
  AddChoice(app, "--bits", prune.bits, kBitCountWords, "Bits that pruning counts");
  app.add_option("--epsilon", prune.epsilon, "Keep pairs whose errors are this close, in [0, 1)")
      ->type_name("X")
      ->check(Number([](double x) { return x >= 0 && x < 1; }, "a number from 0 to below 1"))
      ->capture_default_str();
  app.add_option("--min-pairs", prune.min_pairs, "Keep at least N pairs a layer")
      ->type_name("N")
      ->transform(WholeNumber(1))
      ->capture_default_str();
}

void AddClusterOptions(CLI::App& app, ClusterOptions& cluster) {
  app.add_option("--max-groups", cluster.max_groups, "Merge groups of layers down to N")
      ->type_name("N")
      ->transform(WholeNumber(1));
  app.add_flag("--no-cluster", cluster.no_cluster, "Every layer is its own group");
}

void AddKnownScores(CLI::App& app, std::filesystem::path& file) {
  app.add_option("--known-scores", file,
                 "evaluations.jsonl of another run with this model, prompts and target: its plans "
                 "are not scored again")
      ->type_name("FILE");
}

void AddTask(CLI::App& app, TaskOptions& task) {
  CLI::Option* file =
      app.add_option("--task", task.file,
                     "Let the model answer the items of this task file under each plan")
          ->type_name("FILE");
  app.add_option("--limit", task.overrides.limit, "Use the first N items of the task")
      ->type_name("N")
      ->transform(WholeNumber(1))
      ->needs(file);
  app.add_option("--fewshot", task.overrides.fewshot,
                 "Solved questions in front of each (default: the task's)")
      ->type_name("N")
      ->transform(WholeNumber(0))
      ->needs(file);
  app.add_flag("--apply-chat-template", task.apply_chat_template,
               "Make shots and question the turns of a chat, in the model's own template")
      ->needs(file);
}

void AddLatency(CLI::App& app, LatencyOptions& by_time, const std::string& help) {
  CLI::Option* latency = app.add_option_function<std::string>(
                                "--objective-latency",
                                [&by_time](const std::string& file) {
                                  by_time.wanted = true;
                                  by_time.file = file;
                                },
                                help)
                             ->type_name("[FILE]")
                             ->expected(0, 1);
  AddCount(app, "--latency-batch", by_time.setting.batch, "N",
           "Sequences of that step (default: the file's; where it is measured 32, on a CPU 1)");
  AddCount(app, "--latency-context", by_time.setting.context_tokens, "TOKENS",
           "Tokens in the cache of each (default: the file's; where it is measured --context)");
  for (const char* flag : {"--latency-batch", "--latency-context"})
    app.get_option(flag)->needs(latency);
}

void AddSearchOptions(CLI::App& app, SearchStepOptions& step) {
  SearchOptions& search = step.search;
  AddChoice(app, "--algorithm", search.algorithm, kAlgorithmWords,
            "What searches the groups; random, greedy, ilp and paper are baselines");
  AddChoice(app, "--objective", step.by, kSearchByWords,
            "What plans are searched by: their loss, or their answers to the items of --task");
  AddLatency(app, step.by_time,
             "Also search by the time of a decode step's attention, from a file of `kvtune bench` "
             "(default: latency.json in the run directory, measured first where it is missing)");
  app.add_option("--search-items", step.search_items,
                 "Search on N items of the task and test on the others (default: half, at most "
                 "200)")
      ->type_name("N")
      ->transform(WholeNumber(1));
  app.add_flag("--exact", search.exact,
               "Score every plan of the groups on all prompts, or refuse when they are too many");
  app.add_option("--population", search.population, "Plans a generation, a multiple of 4 from 8 on")
      ->type_name("N")
      ->transform(WholeNumber(1, kMostPlans))
      ->capture_default_str();
  app.add_option("--generations", search.generations, "Generations")
      ->type_name("N")
      ->transform(WholeNumber(1, kMostPlans))
      ->capture_default_str();
  app.add_option("--max-evaluations", search.max_evaluations, "Score at most N plans")
      ->type_name("N")
      ->transform(WholeNumber(1));
  app.add_option("--max-seconds", step.max_seconds,
                 "Stop the search after so long; the same command goes on from there")
      ->type_name("S")
      ->check(Number([](double x) { return x > 0; }, "seconds, a number above 0"));
  app.add_option("--stall-generations", search.stall_generations,
                 "End the grouped search after N generations in a row that added nothing")
      ->type_name("N")
      ->transform(WholeNumber(1));
  app.add_flag_callback(
      "--no-racing", [&search] { search.racing.reset(); },
      "Score every plan on all prompts, also those that others clearly beat");
  app.add_option("--search-seed", step.search_seed,
                 "Seed of the search alone, where prompts shall stay (default: --seed)")
      ->type_name("N")
      ->transform(WholeNumber(0, UINT64_MAX));
  AddKnownScores(app, step.known_scores);
  CLI::Option* refine =
      app.add_option("--refine-evaluations", search.refinement_evaluations,
                     "Plans of the layer-wise refinement after the grouped search, at most")
          ->type_name("N")
          ->transform(WholeNumber(1))
          ->capture_default_str();
  app.add_flag_callback(
         "--no-refine", [&search] { search.refinement_evaluations = 0; },
         "End with the grouped search")
      ->excludes(refine);
}

}  // namespace kvtune
