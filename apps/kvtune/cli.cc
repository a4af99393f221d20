#include "apps/kvtune/cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <memory>
#include <string_view>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/options.h"
#include "apps/kvtune/suggestion.h"
#include "lib/base/log.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

constexpr size_t kHelpWidth = 100;

using Action = std::function<ExitCode(const Invocation&)>;

struct Command {
  std::string name;  // one word or two
  std::string summary;
  Action (*bind)(CLI::App& app);  // declares its options and returns what runs once they are read
};

// Owns a command's arguments between parsing and running.
template <typename Arguments>
Action Bind(CLI::App& app, void (*declare)(CLI::App&, Arguments&),
            ExitCode (*run)(const Arguments&, const Invocation&)) {
  auto arguments = std::make_shared<Arguments>();
  declare(app, *arguments);
  return [arguments, run](const Invocation& invocation) { return run(*arguments, invocation); };
}

// A whole number of at least `smallest`. CLI11's own checks let "-1" through as an unsigned number
// and print ranges of 300 digits.
CLI::Validator WholeNumber(uint64_t smallest) {
  const auto check = [smallest](const std::string& text) -> std::string {
    uint64_t number = 0;
    const auto [end, reason] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = reason == std::errc() && end == text.data() + text.size();
    if (whole && number >= smallest) return "";
    return fmt::format("found \"{}\", expected a whole number from {} on", text, smallest);
  };
  return {check, ""};
}

CLI::Validator ShareBelowOne() {
  const auto check = [](const std::string& text) -> std::string {
    double number = -1;
    const auto [end, reason] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool complete = reason == std::errc() && end == text.data() + text.size();
    if (complete && number >= 0 && number < 1) return "";
    return fmt::format("found \"{}\", expected a number from 0 to below 1", text);
  };
  return {check, ""};
}

CLI::Option* AddChoice(CLI::App& app, const std::string& flag, std::string& value,
                       const std::vector<std::string>& choices, const std::string& help) {
  const auto check = [choices](const std::string& text) -> std::string {
    if (std::ranges::find(choices, text) != choices.end()) return "";
    return fmt::format("found \"{}\", expected {}", text, fmt::join(choices, ", "));
  };
  return app.add_option(flag, value, help)
      ->type_name(fmt::format("{}", fmt::join(choices, "|")))
      ->check({check, ""})->capture_default_str();
}

void AddTarget(CLI::App& app, std::string& target) {
  app.add_option("--target", target, "Serving engine to plan for (see `kvtune targets`)")
      ->type_name("NAME")->capture_default_str();
}

void AddModel(CLI::App& app, std::filesystem::path& model) {
  app.add_option("--model", model, "Checkpoint directory in Hugging Face form")
      ->type_name("DIR")->required();
}

void AddContext(CLI::App& app, int64_t& context) {
  app.add_option("--context", context, "Bytes are counted at this length")
      ->type_name("TOKENS")->check(WholeNumber(1))->capture_default_str();
}

void AddRunDirectory(CLI::App& app, std::filesystem::path& run) {
  app.add_option("RUN", run, "Run directory")->required();
}

// Every option that means the same in all commands that run the model.
void AddModelArguments(CLI::App& app, ModelArguments& model) {
  AddModel(app, model.model);
  AddTarget(app, model.target);
  app.add_option("--prompts", model.prompts,
                 "Prompt file: .jsonl with \"text\" or \"input_ids\", or plain text; repeatable "
                 "(default: the bundled calibration set)")
      ->type_name("FILE")->allow_extra_args(false);
  app.add_option("--max-prompts", model.max_prompts, "Use at most N prompts")
      ->type_name("N")->check(WholeNumber(1));
  app.add_option("--max-tokens", model.max_tokens, "Use at most N tokens in all")
      ->type_name("N")->check(WholeNumber(1))->capture_default_str();
  AddChoice(app, "--long-prompts", model.long_prompts, {"refuse", "cut"},
            "A prompt of --prompts that is longer than the model's context");
  app.add_option("--seed", model.seed, "Seed of every random choice")
      ->type_name("N")->check(WholeNumber(0))->capture_default_str();
  AddContext(app, model.context);
  app.add_option("--device", model.device, "auto, cpu, cuda or cuda:N")
      ->type_name("DEVICE")->capture_default_str();
  AddChoice(app, "--dtype", model.dtype, {"auto", "float32", "bfloat16", "float16"},
            "Arithmetic; auto: float32 on a CPU, bfloat16 on CUDA");
  app.add_option("--threads", model.threads, "CPU threads (default: all cores)")
      ->type_name("N")->check(WholeNumber(1));
  AddChoice(app, "--prefill", model.prefill, {"quantized", "exact"},
            "What attention reads during the prompt");
}

void AddRunArguments(CLI::App& app, RunArguments& run) {
  app.add_option("--out", run.out, "Run directory (default: ./kvtune-<model name>-<target>)")
      ->type_name("RUN");
  app.add_option("--held-out", run.held_out,
                 "Prompts to score the result on, or none (default: the bundled held-out set; "
                 "with --prompts its last quarter)")
      ->type_name("FILE");
}

void AddSensitivity(CLI::App& app, std::string& sensitivity) {
  AddChoice(app, "--sensitivity", sensitivity, {"eo", "kl"},
            "Error that screens pairs: of the attention output, or KL with one layer quantized");
}

void AddCalibrateOptions(CLI::App& app, CalibrateOptionsArguments& calibrate) {
  AddChoice(app, "--metric-reduction", calibrate.metric_reduction,
            {"ratio-of-sums", "mean-of-ratios"}, "How errors are reduced over elements");
}

void AddPruneOptions(CLI::App& app, PruneOptionsArguments& prune) {
  AddChoice(app, "--bits", prune.bits, {"effective", "nominal"}, "Bits that pruning counts");
  app.add_option("--epsilon", prune.epsilon, "Keep pairs whose errors are this close, in [0, 1)")
      ->type_name("X")->check(ShareBelowOne())->capture_default_str();
  app.add_option("--min-pairs", prune.min_pairs, "Keep at least N pairs a layer")
      ->type_name("N")->check(WholeNumber(1))->capture_default_str();
}

void AddClusterOptions(CLI::App& app, ClusterOptionsArguments& cluster) {
  app.add_option("--max-groups", cluster.max_groups, "Merge groups of layers down to N")
      ->type_name("N")->check(WholeNumber(1));
  app.add_flag("--no-cluster", cluster.no_cluster, "Every layer is its own group");
}

void AddSearchOptions(CLI::App& app, SearchOptionsArguments& search) {
  app.add_option("--population", search.population, "Plans a generation, a multiple of 4 from 8 on")
      ->type_name("N")->check(WholeNumber(1))->capture_default_str();
  app.add_option("--generations", search.generations, "Generations")
      ->type_name("N")->check(WholeNumber(1))->capture_default_str();
  app.add_option("--max-evaluations", search.max_evaluations, "Score at most N plans")
      ->type_name("N")->check(WholeNumber(1));
  CLI::Option* refine =
      app.add_option("--refine-evaluations", search.refine_evaluations,
                     "Plans of the layer-wise refinement after the grouped search, at most")
          ->type_name("N")->check(WholeNumber(1))->capture_default_str();
  app.add_flag("--no-refine", search.no_refine, "End with the grouped search")->excludes(refine);
}

void DeclareSearch(CLI::App& app, SearchArguments& arguments) {
  AddModelArguments(app, arguments.model);
  AddRunArguments(app, arguments.run);
  AddSensitivity(app, arguments.calibrate.sensitivity);
  AddCalibrateOptions(app, arguments.calibrate);
  AddPruneOptions(app, arguments.prune);
  AddClusterOptions(app, arguments.cluster);
  AddSearchOptions(app, arguments.search);
  // One flag serves both stages: what is measured is what prunes.
  app.callback([&arguments] { arguments.prune.sensitivity = arguments.calibrate.sensitivity; });
}

void DeclareCalibrate(CLI::App& app, CalibrateArguments& arguments) {
  AddModelArguments(app, arguments.model);
  AddRunArguments(app, arguments.run);
  AddSensitivity(app, arguments.calibrate.sensitivity);
  AddCalibrateOptions(app, arguments.calibrate);
}

void DeclarePrune(CLI::App& app, PruneArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  AddSensitivity(app, arguments.prune.sensitivity);
  AddPruneOptions(app, arguments.prune);
}

void DeclareCluster(CLI::App& app, ClusterArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  AddClusterOptions(app, arguments.cluster);
}

void DeclareEvaluate(CLI::App& app, EvaluateArguments& arguments) {
  AddModelArguments(app, arguments.model);
  app.add_option("--plan", arguments.plans,
                 "A plan: \"KV4;0:KV8;26-27:K8V4\", an exported file or RUN:NAME; repeatable")
      ->type_name("SPEC")->allow_extra_args(false);
  AddChoice(app, "--uniform", arguments.uniform, {"all"}, "Also every uniform plan of the target")
      ->default_str("");
  app.add_flag("--stdin", arguments.read_stdin,
               "Read JSON plans from stdin, one a line; write one JSON score a line");
}

void DeclareParetoList(CLI::App& app, FrontArguments& arguments) {
  AddRunDirectory(app, arguments.run);
}

void DeclareParetoShow(CLI::App& app, FrontArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_option("NAME,--plan", arguments.plan, "Plan of the front, uniform plan or exact")
      ->required();
}

void DeclareParetoPick(CLI::App& app, PickArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_option("--max-loss", arguments.max_loss, "Fewest bytes with at most this mean KL")
      ->type_name("NATS");
  app.add_option("--max-bits", arguments.max_bits, "Least loss with at most B effective bits")
      ->type_name("B");
  app.add_option("--max-bytes", arguments.max_bytes, "Least loss with at most N bytes per token")
      ->type_name("N");
  app.add_flag("--lossless", arguments.lossless,
               "Fewest bytes with a held-out loss not worse than the 8-bit uniform plan's");
}

void DeclareParetoExport(CLI::App& app, ExportArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_option("--plan", arguments.plan, "Plan of the front, uniform plan or exact")
      ->type_name("NAME")->required();
  app.add_option("--format", arguments.format, "Format (see `kvtune targets`)")
      ->type_name("X")->required();
  app.add_option("--out", arguments.out, "File to write (default: stdout)")->type_name("FILE");
}

void DeclareInspect(CLI::App& app, InspectArguments& arguments) {
  AddModel(app, arguments.model);
  AddTarget(app, arguments.target);
  AddContext(app, arguments.context);
}

void DeclareTokenize(CLI::App& app, TokenizeArguments& arguments) {
  AddModel(app, arguments.model);
  app.add_option("FILE", arguments.file, "Text, one prompt a line (default: stdin)");
  app.add_flag("--jsonl", arguments.jsonl, "Lines are JSON objects with \"text\"");
  app.add_flag("--no-special", arguments.no_special, "Leave out BOS and the like");
}

void DeclareTargets(CLI::App& app, TargetsArguments& arguments) {
  app.add_option("NAME", arguments.name, "Only this target");
}

template <auto kDeclare, auto kRun>
Action BindTo(CLI::App& app) {
  return Bind(app, kDeclare, kRun);
}

const std::vector<Command>& Commands() {
  static const std::vector<Command> commands = {
      {"search", "calibrate, prune, cluster and search, all in one run directory",
       BindTo<DeclareSearch, RunSearch>},
      {"calibrate", "measure how much each precision pair disturbs each layer",
       BindTo<DeclareCalibrate, RunCalibrate>},
      {"prune", "keep each layer's pairs on the front of bits and error",
       BindTo<DeclarePrune, RunPrune>},
      {"cluster", "group layers that share one choice", BindTo<DeclareCluster, RunCluster>},
      {"evaluate", "score plans against the exact model", BindTo<DeclareEvaluate, RunEvaluate>},
      {"pareto list", "show the plans of a run's front", BindTo<DeclareParetoList, RunParetoList>},
      {"pareto show", "show one plan layer by layer", BindTo<DeclareParetoShow, RunParetoShow>},
      {"pareto pick", "choose a plan by loss, bits or bytes",
       BindTo<DeclareParetoPick, RunParetoPick>},
      {"pareto export", "write a plan for a serving engine",
       BindTo<DeclareParetoExport, RunParetoExport>},
      {"inspect", "show a model's sizes and its KV bytes per token",
       BindTo<DeclareInspect, RunInspect>},
      {"tokenize", "turn lines of text into token ids", BindTo<DeclareTokenize, RunTokenize>},
      {"targets", "list serving engines and their formats", BindTo<DeclareTargets, RunTargets>},
  };
  return commands;
}

std::string ProgramHelp() {
  std::string help =
      "kvtune " KVTUNE_VERSION ": layer-wise KV cache precision, found offline\n\n"
      "Usage: kvtune COMMAND [OPTIONS]\n\n";
  for (const Command& command : Commands()) {
    help += fmt::format("  {:<15}{}\n", command.name, command.summary);
  }
  return help +
         "\n"
         "`kvtune COMMAND --help` lists a command's options.\n"
         "Exit codes: 0 ok, 1 error, 2 usage, 3 bug in kvtune, 130 stopped by the user.\n";
}

// "--out RUN" and its meaning, one line an option.
std::string CommandHelp(const CLI::App& app) {
  std::string usage = app.get_name();
  TextTable table({{"", Align::kLeft}, {"", Align::kLeft}, {"", Align::kLeft}});
  for (const CLI::Option* option : app.get_options()) {
    const bool positional = option->get_positional();
    const std::string type = positional ? "" : option->get_type_name();
    std::string meaning = option->get_description();
    if (option->get_required()) {
      meaning += " (required)";
      usage += " " + option->get_name(positional) + (type.empty() ? "" : " " + type);
    }
    if (!option->get_default_str().empty()) {
      meaning += fmt::format(" (default: {})", option->get_default_str());
    }
    table.AddRow({"", option->get_name(positional, true) + (type.empty() ? "" : " " + type),
                  std::move(meaning)});
  }
  const std::string options = table.Render(kHelpWidth);
  return fmt::format("Usage: {} [OPTIONS]\n\n{}\n{}", usage, app.get_description(), options);
}

[[noreturn]] void FailUsage(const std::string& message) { throw Error(message, ExitCode::kUsage); }

// Second words of the commands that begin with `first`: "list", "show", ... of "pareto".
std::vector<std::string> SecondWords(const std::string& first) {
  std::vector<std::string> words;
  for (const Command& command : Commands()) {
    if (!command.name.starts_with(first + " ")) continue;
    words.push_back(command.name.substr(first.size() + 1));
  }
  return words;
}

[[noreturn]] void FailUnknownCommand(const std::string& found) {
  std::vector<std::string> words;
  for (const Command& command : Commands()) {
    words.push_back(command.name.substr(0, command.name.find(' ')));
  }
  FailUsage(fmt::format("reading the command line: found the command \"{}\"{}, expected one that "
                        "`kvtune --help` lists",
                        found, DidYouMean(found, words)));
}

// REQUIRES: !words.empty(). Removes the words of the command's name.
const Command& TakeCommand(std::vector<std::string>& words) {
  std::string name = words.front();
  const std::vector<std::string> seconds = SecondWords(name);
  size_t taken = 1;
  if (!seconds.empty()) {
    const std::string second = words.size() > 1 ? words[1] : "";
    if (std::ranges::find(seconds, second) == seconds.end()) {
      FailUsage(fmt::format("kvtune {}: found \"{}\"{}, expected one of {}", name, second,
                            DidYouMean(second, seconds), fmt::join(seconds, ", ")));
    }
    name += " " + second;
    taken = 2;
  }
  const auto command = std::ranges::find(Commands(), name, &Command::name);
  if (command == Commands().end()) FailUnknownCommand(name);
  words.erase(words.begin(), words.begin() + static_cast<ptrdiff_t>(taken));
  return *command;
}

std::string OptionSuggestion(const CLI::App& app, const std::vector<std::string>& unexpected) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const std::string& word : unexpected) {
    if (word.starts_with("--")) return DidYouMean(word, names);
  }
  return "";
}

ExitCode RunCommand(const Command& command, const std::vector<std::string>& words,
                    Invocation invocation) {
  CLI::App app(command.summary, "kvtune " + command.name);
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  const Action action = command.bind(app);
  app.add_flag("--json", json, "Result as one JSON document on stdout");
  app.add_flag("-q,--quiet", quiet, "Only errors on stderr");
  app.add_flag("-v,--verbose", verbose, "Details on stderr");
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", CommandHelp(app));
    return ExitCode::kOk;
  } catch (const CLI::ParseError& error) {
    FailUsage(fmt::format("kvtune {}: {}{}; see `kvtune {} --help`", command.name, error.what(),
                          OptionSuggestion(app, app.remaining()), command.name));
  }
  SetLogLevel(quiet ? LogLevel::kQuiet : verbose ? LogLevel::kVerbose : LogLevel::kNormal);
  invocation.format = json ? OutputFormat::kJson : OutputFormat::kText;
  return action(invocation);
}

}  // namespace

ExitCode RunCommandLine(const std::vector<std::string>& arguments) {
  std::vector<std::string> words(arguments.begin() + 1, arguments.end());
  if (words.empty()) {
    fmt::print(stderr, "{}", ProgramHelp());
    return ExitCode::kUsage;
  }
  if (words.front() == "help" && words.size() > 1) {  // as `git help COMMAND`
    words.erase(words.begin());
    words.push_back("--help");
  }
  if (words.front() == "--help" || words.front() == "-h" || words.front() == "help") {
    fmt::print("{}", ProgramHelp());
    return ExitCode::kOk;
  }
  if (words.front() == "--version") {
    fmt::print("kvtune {}\n", KVTUNE_VERSION);
    return ExitCode::kOk;
  }
  const Command& command = TakeCommand(words);
  return RunCommand(command, words, {.command_line = arguments});
}

}  // namespace kvtune
