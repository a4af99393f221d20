#include "lib/targets/export_use.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <stdexcept>

#include "lib/base/printable.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::string_view kModel = "{model}";      // the checkpoint's folder, as a word of a shell
constexpr std::string_view kPath = "{path}";        // the same as it is
constexpr std::string_view kName = "{name}";        // its last part
constexpr std::string_view kContent = "{content}";  // the exported arguments
constexpr std::string_view kFile = "{file}";        // the exported file

// How each export format is used, in the words of the engine's own documents. Formats whose file
// has a fixed name in a checkpoint are used in a copy of it, since a checkpoint is shared.
struct Usage {
  std::string_view format;
  std::string_view commands;
};
constexpr Usage kUsages[] = {
    {"kvtuner", "In KVTuner: per_layer_config_path: {file}"},
    {"vllm", "vllm serve {model} {content}"},
    {"vllm-json", "In Python: LLM(model=\"{path}\", **json.load(open(\"{file}\")))"},
    {"modelopt", "cp -r {model} COPY && cp {file} COPY/hf_quant_config.json\nvllm serve COPY"},
    {"modelopt-config",
     "cp -r {model} COPY, and take quantization_config of {file} into COPY/config.json\n"
     "vllm serve COPY"},
    {"tensorrt-llm", "trtllm-serve {model} --extra_llm_api_options {file}"},
    {"sglang", "python3 -m sglang.launch_server --model-path {model} {content}"},
    {"sglang-per-layer", "python3 -m sglang.launch_server --model-path {model} --config {file}"},
    {"lmdeploy", "lmdeploy serve api_server {model} {content}"},
    {"llama.cpp", "llama-server -m {name}.gguf {content}"},
    {"ik_llama.cpp", "llama-server -m {name}.gguf {content}"},
    {"mlx-optiq", "optiq serve --model {model} --kv-config {file}"},
    {"hf", "In Python, after running {file}: model.generate(..., past_key_values=kv_cache())"},
    {"hf-quanto",
     "In Python, after running {file}: model.generate(..., past_key_values=kv_cache())"},
    {"exllamav3", "In Python, after running {file}: set_kv_bits(cache) before the model is loaded"},
    {"json", "kvtune evaluate {model} --target {target} --plan {file}"},
};

bool Uses(const PrecisionPlan& plan, auto predicate) {
  return std::ranges::any_of(plan.layers, [&](PrecisionPair pair) {
    return predicate(FormatOf(pair.key)) || predicate(FormatOf(pair.value));
  });
}

bool UsesLabel(const PrecisionPlan& plan, std::string_view beginning) {
  return Uses(plan, [&](const KvFormat& format) { return format.name.starts_with(beginning); });
}

bool Always(const PrecisionPlan&, std::string_view) { return true; }
bool HasTurboquant(const PrecisionPlan& plan, std::string_view) { return UsesLabel(plan, "tq_"); }
bool HasInt4(const PrecisionPlan& plan, std::string_view) {
  return UsesLabel(plan, "int4_per_token_head");
}
bool HasInt8OrFp8PerHead(const PrecisionPlan& plan, std::string_view) {
  return UsesLabel(plan, "int8_per_token_head") || UsesLabel(plan, "fp8_per_token_head");
}
bool HasSkippedLayers(const PrecisionPlan& plan, std::string_view content) {
  return !plan.is_exact() && content.find("skip") != std::string_view::npos;
}
bool HasMxfp4(const PrecisionPlan& plan, std::string_view) { return UsesLabel(plan, "fp4"); }
bool IsQuantized(const PrecisionPlan& plan, std::string_view) { return !plan.is_exact(); }
bool HasEnds(const PrecisionPlan&, std::string_view content) {
  return content.find("-first") != std::string_view::npos ||
         content.find("-last") != std::string_view::npos;
}
bool HasLastValues(const PrecisionPlan&, std::string_view content) {
  return content.find("-ctv-last") != std::string_view::npos;
}
bool HasRotatedValues(const PrecisionPlan&, std::string_view content) {
  return content.find("-vhad") != std::string_view::npos;
}
// Fused CUDA kernels exist for equal types among f16, bf16, q8_0 and q4_0 only.
bool HasNoFusedKernel(const PrecisionPlan& plan, std::string_view) {
  const PrecisionPair pair = plan.layers.front();
  const std::string_view name = FormatOf(pair.key).name;
  return !pair.is_exact() && (pair.key != pair.value || (name != "q8_0" && name != "q4_0"));
}
bool IsMixed(const PrecisionPlan& plan, std::string_view) {
  return std::ranges::count(plan.layers, plan.layers.front()) != std::ssize(plan.layers);
}

// What plans need of released engines, read in their releases and changes in November 2026.
struct Release {
  std::string_view target;
  bool (*applies)(const PrecisionPlan& plan, std::string_view content);
  std::string_view text;
  std::string_view source;
};
constexpr Release kReleases[] = {
    {"vllm", HasTurboquant, "turboquant_*: vLLM 0.20.0 or later",
     "https://github.com/vllm-project/vllm/pull/38479"},
    {"vllm", HasInt4, "int4_per_token_head: vLLM 0.25.1 or later",
     "https://github.com/vllm-project/vllm/issues/48721"},
    {"vllm", HasInt8OrFp8PerHead,
     "int8_per_token_head, fp8_per_token_head: found in vLLM 0.33.0; an earlier release has to "
     "hold "
     "the change",
     "https://github.com/vllm-project/vllm/pull/38378"},
    {"vllm", HasSkippedLayers,
     "--kv-cache-dtype-skip-layers: found in vLLM 0.33.0; an earlier release has to hold the "
     "change",
     "https://github.com/vllm-project/vllm/pull/33695"},
    {"modelopt", IsMixed, "formats by layer: no released engine reads them (vLLM 0.33.0 does not)",
     "https://github.com/NVIDIA/TensorRT-Model-Optimizer"},
    {"tensorrt-llm", IsMixed, "ranges of layers: a change that is still open",
     "https://github.com/NVIDIA/TensorRT-LLM/pull/13695"},
    {"sglang", HasMxfp4, "fp4_e2m1: SGLang 0.5.23 calls it fp4_mx_block16",
     "https://github.com/sgl-project/sglang/releases"},
    {"sglang-per-layer", Always, "kv_cache_per_layer_dtype: a fork of SGLang; no release has it",
     "https://github.com/sgl-project/sglang/releases"},
    {"lmdeploy", IsQuantized, "--quant-policy: found in LMDeploy 0.18.0",
     "https://github.com/InternLM/lmdeploy/releases"},
    {"llama.cpp", IsQuantized,
     "what was measured is the rotated cache: llama.cpp of April 2026 or later",
     "https://github.com/ggml-org/llama.cpp/pull/21038"},
    {"llama.cpp", HasNoFusedKernel,
     "on CUDA: a build with -DGGML_CUDA_FA_ALL_QUANTS=ON, for fused kernels of these types",
     "https://github.com/ggml-org/llama.cpp/blob/master/docs/build.md"},
    {"ik_llama.cpp", HasEnds, "-ctk-first and the like: ik_llama.cpp from 8 April 2026 on",
     "https://github.com/ikawrakow/ik_llama.cpp/pull/1599"},
    {"ik_llama.cpp", HasLastValues,
     "-ctv-last: from 12 April 2026 on; before, it took the type of -ctv-first",
     "https://github.com/ikawrakow/ik_llama.cpp/pull/1626"},
    {"ik_llama.cpp", HasRotatedValues, "-vhad: from 27 March 2026 on",
     "https://github.com/ikawrakow/ik_llama.cpp/pull/1527"},
    {"mlx-optiq", Always, "--kv-config: found in mlx-optiq 0.7.7",
     "https://pypi.org/project/mlx-optiq/0.7.7/"},
    {"hf", Always, "run in transformers 5.24 with hqq", "https://pypi.org/project/transformers/"},
    {"hf-quanto", Always, "run in transformers 5.24 with optimum-quanto",
     "https://pypi.org/project/transformers/"},
    {"exllamav3", Always, "run with exllamav3 1.6.5", "https://github.com/turboderp-org/exllamav3"},
};

void Replace(std::string& text, std::string_view word, std::string_view by) {
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += by.size()) {
    text.replace(at, word.size(), by);
  }
}

// The exported arguments without comments, in one line.
std::string ArgumentsOf(std::string_view content) {
  std::string arguments;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view line = content.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty() || line.starts_with('#')) continue;
    if (!arguments.empty()) arguments += ' ';
    arguments += line;
  }
  return arguments;
}

std::string ScalesText(const PrecisionPlan& plan, const ExportedFiles& files) {
  if (!HasCalibratedScales(plan)) return "";
  const std::string file =
      files.scales_file.empty() ? "the file of scales (--out FILE writes it)" : files.scales_file;
  return fmt::format(
      "Scales: put {} into a copy of the checkpoint and add its tensors to "
      "model.safetensors.index.json there, or give it to a loader that takes scales apart.",
      file);
}

}  // namespace

ExportUse UseOf(const ScoredPlan& plan, const Provenance& run, std::string_view format,
                const ExportedFiles& files) {
  const auto* usage = std::ranges::find(kUsages, format, &Usage::format);
  if (usage == std::end(kUsages)) {
    throw std::logic_error("UseOf: found a format without a usage, expected one for every format");
  }
  std::filesystem::path model = run.model;
  if (!model.has_filename()) model = model.parent_path();  // "folder/" is "folder"
  std::string text(usage->commands);
  Replace(text, kPath, model.string());
  Replace(text, kModel, ShellWord(model.string()));
  Replace(text, kName, ShellWord(model.filename().string()));
  Replace(text, kContent, ArgumentsOf(files.content));
  Replace(text, kFile, files.plan_file.empty() ? "FILE" : ShellWord(files.plan_file));
  Replace(text, "{target}", run.target);

  ExportUse use;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    use.commands.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const Release& release : kReleases) {
    if (release.target != run.target || format == "json") continue;
    if (release.applies(plan.plan, files.content))
      use.needs.push_back({std::string(release.text), std::string(release.source)});
  }
  if (format != "json") use.scales = ScalesText(plan.plan, files);
  return use;
}

}  // namespace kvtune
