#include "apps/kvtune/command_table.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/option_groups.h"
#include "apps/kvtune/options.h"

namespace kvtune {
namespace {

void DeclareSearch(CLI::App& app, SearchArguments& arguments) {
  AddRunInputs(app, arguments.inputs);
  CLI::Option* model = app.get_option("--model")->required(false);
  app.add_option("--models", arguments.models,
                 "Search many models, one after another: folders, or files with one a line; each "
                 "gets a run directory in --out")
      ->type_name("LIST...")
      ->excludes(model);
  AddKernels(app, arguments.inputs.kernels);
  AddRunPlace(app, arguments.place);
  AddSensitivity(app, arguments.calibrate.screening);
  AddCalibrateOptions(app, arguments.calibrate);
  AddPruneOptions(app, arguments.prune);
  AddClusterOptions(app, arguments.cluster);
  AddSearchOptions(app, arguments.search);
  AddMemoryOptions(app, arguments.memory);
  AddTask(app, arguments.task);
  // One flag serves both stages: what is measured is what prunes.
  app.callback([&arguments, model] {
    arguments.prune.metric = arguments.calibrate.screening;
    if (model->empty() && arguments.models.empty()) throw CLI::RequiredError(model->get_name());
  });
}

void DeclareCalibrate(CLI::App& app, CalibrateArguments& arguments) {
  AddRunInputs(app, arguments.inputs);
  AddKernels(app, arguments.inputs.kernels);
  AddRunPlace(app, arguments.place);
  AddSensitivity(app, arguments.calibrate.screening);
  AddCalibrateOptions(app, arguments.calibrate);
  app.add_flag("--table", arguments.table, "Print the error of every layer and pair");
}

void DeclarePrune(CLI::App& app, PruneArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  AddSensitivity(app, arguments.prune.metric);
  AddPruneOptions(app, arguments.prune);
  AddLatency(app, arguments.by_time,
             "Keep pairs for their time too, from a file of `kvtune bench` (default: latency.json "
             "in the run directory)");
}

void DeclareCluster(CLI::App& app, ClusterArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  AddClusterOptions(app, arguments.cluster);
}

void DeclareEvaluate(CLI::App& app, EvaluateArguments& arguments) {
  AddRunInputs(app, arguments.inputs);
  app.add_option("--plan", arguments.plans,
                 "A plan: \"KV4;0:KV8;26-27:K8V4\", an exported file or RUN:NAME; repeatable")
      ->type_name("SPEC")
      ->allow_extra_args(false);
  AddWord(
      app, "--uniform", {"all"}, "",
      [&arguments](const std::string&) { arguments.uniform = UniformPlans::kAll; },
      "Also every uniform plan of the target");
  app.add_option("--front", arguments.front, "Also every plan of this run's front")
      ->type_name("RUN");
  AddTask(app, arguments.task);
  app.add_option("--samples", arguments.samples,
                 "Write prompt, answer and verdict of every item and plan, as JSON lines; the same "
                 "command goes on from a file that was not finished")
      ->type_name("FILE")
      ->needs("--task");
  app.add_flag("--stdin", arguments.read_stdin,
               "Read JSON plans from stdin, one a line or an array of them; answer each line");
  AddKnownScores(app, arguments.known_scores);
}

void DeclareCheck(CLI::App& app, GateArguments& arguments) {
  app.add_option("--config", arguments.configs, "Config of a plan to judge; repeatable")
      ->type_name("FILE...");
  app.add_option("--baseline", arguments.baseline,
                 "Baselines to compare with (default: baselines/NAME.json beside each config)")
      ->type_name("FILE");
  app.add_flag("--update-baseline", arguments.update_baseline,
               "Write the baselines anew and say what changed");
  app.add_flag("--accept-model", arguments.accept_model,
               "Judge another model than the config's and the baseline's, such as a new fine-tune");
  app.add_option("--cache", arguments.cache, "Keep the exact model's pass in this folder")
      ->type_name("DIR");
  app.add_option("--junit", arguments.junit, "Also write JUnit XML")->type_name("FILE");
  app.add_option("--markdown", arguments.markdown, "Also write a pull request's comment")
      ->type_name("FILE");
  app.add_flag("--github", arguments.github, "Also print GitHub's annotations");
  CLI::Option* init =
      app.add_option("--init", arguments.init, "Write a config for a plan of a run, to --out")
          ->type_name("RUN:NAME");
  app.add_option("--out", arguments.out, "Config to write")->type_name("FILE")->needs(init);
  AddTask(app, arguments.task);
  app.get_option("--task")->needs(init);
  app.add_flag("--schema", arguments.schema, "Print the JSON Schema of configs");
  AddSeed(app, arguments.seed);
  AddModelOptions(app, arguments.where);
}

void DeclareParetoList(CLI::App& app, ListArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_flag("--all", arguments.all, "Every plan of the front and every uniform plan");
}

void DeclareParetoShow(CLI::App& app, FrontArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_option("NAME,--plan", arguments.plan, "Plan of the front, uniform plan or exact")
      ->required();
}

void DeclareParetoPick(CLI::App& app, PickArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  AddLimit(app, "--max-loss", arguments.constraints.max_loss, "NATS",
           "Fewest bytes with at most this mean KL");
  AddLimit(app, "--max-bits", arguments.constraints.max_bits, "B",
           "Least loss with at most B effective bits");
  AddSizeLimit(app, "--max-bytes", arguments.constraints.max_bytes,
               "Least loss with at most N bytes per token");
  AddLimit(app, "--max-milliseconds", arguments.constraints.max_milliseconds, "MS",
           "Least loss with at most so much attention in a decode step, of a search by time");
  app.add_option("--like", arguments.constraints.like,
                 "Fewest bytes among plans as good as this one of the run, prompt by prompt")
      ->type_name("PLAN");
  app.add_option("--margin", arguments.constraints.margin,
                 "Share by which the loss may be larger with --like or --lossless")
      ->type_name("X")
      ->capture_default_str();
  AddMemoryOptions(app, arguments.memory);
  AddCount(app, "--context", arguments.context, "TOKENS",
           "Tokens of a sequence that have to fit (default: those of the run)");
  app.add_flag("--lossless", arguments.constraints.lossless,
               "--like the target's 8-bit uniform plan (fp8_e4m3 where there is one)");
}

void DeclareParetoDiff(CLI::App& app, DiffArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_option("A", arguments.a, "Plan of the run")->required();
  app.add_option("B", arguments.b, "Another one")->required();
}

void DeclareParetoPlot(CLI::App& app, PlotArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_flag("--ascii", arguments.ascii, "Draw with ASCII characters alone");
  app.add_flag("--time", arguments.time, "Draw against milliseconds, of a search by time");
}

void DeclareParetoMerge(CLI::App& app, MergeArguments& arguments) {
  app.add_option("RUNS", arguments.runs, "Run directories of one model, prompts and target")
      ->required()
      ->expected(2, 1000);
  app.add_option("--out", arguments.out, "Run directory to write")->type_name("RUN")->required();
}

void DeclareParetoExport(CLI::App& app, ExportArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_option("--plan", arguments.plan, "Plan of the run, or \"recommended\"")
      ->type_name("NAME")
      ->required();
  app.add_option("--format", arguments.format,
                 "Format (see `kvtune targets`; default: the target's first)")
      ->type_name("X");
  app.add_option("--out", arguments.out,
                 "File to write (default: stdout); calibrated scales go beside it, as .safetensors")
      ->type_name("FILE");
  app.add_flag("--project", arguments.project,
               "Take the nearest plan where the format cannot express this one");
}

void DeclareReport(CLI::App& app, ReportArguments& arguments) {
  AddRunDirectory(app, arguments.run);
  app.add_option("--out", arguments.out, "Page to write (default: report.html in the run)")
      ->type_name("FILE");
}

void DeclareInspect(CLI::App& app, InspectArguments& arguments) {
  AddModel(app, arguments.inspect.model);
  AddTarget(app, arguments.inspect.target);
  AddContext(app, arguments.inspect.context);
  AddMemoryOptions(app, arguments.inspect.memory);
  app.add_option("--device", arguments.device,
                 "Judge by the free memory of this machine's device: auto, cpu, cuda or cuda:N")
      ->type_name("DEVICE");
}

void DeclareBench(CLI::App& app, BenchArguments& arguments) {
  AddModel(app, arguments.model);
  AddTarget(app, arguments.target);
  app.add_option(
         "--plan", arguments.plans,
         "A plan: \"KV4;0:KV8;26-27:K8V4\", an exported file or RUN:NAME; repeatable, beside "
         "bf16, FP8 and the 8- and 4-bit uniform plans")
      ->type_name("SPEC")
      ->allow_extra_args(false);
  AddCounts(app, "--batch", arguments.batches, "N",
            "Sequences that are decoded together; repeatable (default: 32, on a CPU 1)");
  AddCounts(app, "--context", arguments.contexts, "TOKENS",
            "Tokens in the cache of each, such as 8192 or 32k; repeatable (default: 8k, on a CPU "
            "1k)");
  AddDevice(app, arguments.device);
  app.add_flag("--synthetic", arguments.synthetic, "Only config.json is there, no weights");
  app.add_flag("--attention-only", arguments.attention_only,
               "Time the attention of every pair and no whole steps");
  app.add_option("--out", arguments.out, "Also write the times to this file, latency.json")
      ->type_name("FILE");
}

void DeclareTokenize(CLI::App& app, TokenizeArguments& arguments) {
  // Here a word alone is the text to tokenize, so the model has to be named by its option.
  app.add_option("--model", arguments.model, "Folder with a tokenizer.json")
      ->type_name("DIR")
      ->required();
  app.add_option("FILE", arguments.file, "Text, one prompt a line (default: stdin)");
  app.add_flag("--jsonl", arguments.jsonl, "Lines are JSON objects with \"text\"");
  app.add_flag("--no-special", arguments.no_special, "Leave out BOS and the like");
}

void DeclareTargets(CLI::App& app, TargetsArguments& arguments) {
  app.add_option("NAME", arguments.name, "Only this target");
  app.add_option("--model", arguments.model,
                 "Effective bits for this model, and whether it can be stored")
      ->type_name("DIR");
  app.add_option("--gpu", arguments.gpu,
                 "Which formats have kernels on this NVIDIA GPU: sm_90, 9.0 or H100")
      ->type_name("NAME");
}

// Owns a command's arguments between parsing and running.
template <typename Arguments>
Command::Action Bind(CLI::App& app, void (*declare)(CLI::App&, Arguments&),
                     ExitCode (*run)(const Arguments&, const Invocation&)) {
  auto arguments = std::make_shared<Arguments>();
  declare(app, *arguments);
  return [arguments, run](const Invocation& invocation) { return run(*arguments, invocation); };
}

template <auto kDeclare, auto kRun>
Command::Action BindTo(CLI::App& app) {
  return Bind(app, kDeclare, kRun);
}

}  // namespace

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
      {"check", "judge whether served plans still hold", BindTo<DeclareCheck, RunCheck>},
      {"pareto list", "show the plans of a run's front", BindTo<DeclareParetoList, RunParetoList>},
      {"pareto show", "show one plan layer by layer", BindTo<DeclareParetoShow, RunParetoShow>},
      {"pareto pick", "choose a plan by loss, bits, bytes or time",
       BindTo<DeclareParetoPick, RunParetoPick>},
      {"pareto diff", "compare two plans: layers, bytes, paired loss",
       BindTo<DeclareParetoDiff, RunParetoDiff>},
      {"pareto plot", "draw the front", BindTo<DeclareParetoPlot, RunParetoPlot>},
      {"pareto merge", "make one run of several", BindTo<DeclareParetoMerge, RunParetoMerge>},
      {"pareto export", "write a plan for a serving engine",
       BindTo<DeclareParetoExport, RunParetoExport>},
      {"report", "write a run as one HTML page", BindTo<DeclareReport, RunReportPage>},
      {"inspect", "show a model's sizes and its KV bytes per token",
       BindTo<DeclareInspect, RunInspect>},
      {"bench", "time decode steps of plans on this device", BindTo<DeclareBench, RunBench>},
      {"tokenize", "turn lines of text into token ids", BindTo<DeclareTokenize, RunTokenize>},
      {"targets", "list serving engines and their formats", BindTo<DeclareTargets, RunTargets>},
  };
  return commands;
}

}  // namespace kvtune
