#include "lib/io/weight_format.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/log.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

int64_t PositiveOrAll(JsonFields& fields, std::string_view key) {
  const int64_t value = fields.Integer(key);
  if (value == -1) return 0;
  if (value <= 0)
    fields.Fail(key, fmt::format("found {}, expected a positive number or -1", value));
  return value;
}

// Finds which of two spellings of an option the file uses, and prefers the newer one.
std::string_view Spelling(const JsonFields& fields, std::string_view newer,
                          std::string_view older) {
  return fields.Has(newer) || !fields.Has(older) ? newer : older;
}

void RequireText(JsonFields& fields, std::string_view key, std::string_view expected) {
  if (!fields.Has(key)) return;
  if (const std::string found = fields.String(key); found != expected) {
    fields.Fail(key, fmt::format("found \"{}\", expected \"{}\"", found, expected));
  }
}

int RequireBits(JsonFields& fields, std::string_view key, std::initializer_list<int> supported) {
  const int64_t bits = fields.Integer(key);
  for (const int known : supported) {
    if (bits == known) return known;
  }
  fields.Fail(key, fmt::format("found {}, expected {}", bits, fmt::join(supported, " or ")));
}

ModulePatterns PatternsOrNone(JsonFields& fields, std::string_view key) {
  if (!fields.Has(key)) return {};
  return ModulePatterns(fields.Strings(key), fmt::format("{}: \"{}\"", fields.where(), key));
}

void ReadBlock(JsonFields& fields, std::string_view key, WeightFormat& format) {
  if (!fields.Has(key)) return;
  const std::vector<int64_t> block = fields.Integers(key);
  if (block.size() != 2 || block[0] <= 0 || block[1] <= 0) {
    fields.Fail(key,
                fmt::format("found [{}], expected two positive numbers", fmt::join(block, ", ")));
  }
  format.block_rows = block[0];
  format.block_columns = block[1];
}

WeightFormat ParseFp8(JsonFields& fields) {
  WeightFormat format{.coding = WeightCoding::kBytes, .bits = 8};
  RequireText(fields, "fmt", "e4m3");
  ReadBlock(fields, "weight_block_size", format);
  format.ignored =
      PatternsOrNone(fields, Spelling(fields, "modules_to_not_convert", "ignored_layers"));
  return format;
}

// ModelOpt and compressed-tensors name the quantization of the KV cache beside that of the weights.
bool QuantizesCache(const JsonFields& fields) {
  return fields.Has("kv_cache_quant_algo") || fields.Has("kv_cache_scheme");
}

void SayThatScalesAreNotApplied(const JsonFields& fields) {
  if (!QuantizesCache(fields)) return;
  LogInfo(fmt::format(
      "{}: the checkpoint quantizes the KV cache; scales that it stores for it are applied with "
      "--scales checkpoint alone",
      fields.where()));
}

WeightFormat ParseModelOpt(JsonFields& fields) {
  // Files that quantize only the KV cache have null here, or leave it out.
  if (!fields.Has("quant_algo") && QuantizesCache(fields)) return {};
  if (fields.Value("quant_algo").is_null()) return {};
  WeightFormat format{.coding = WeightCoding::kBytes, .bits = 8};
  const std::string algorithm = fields.String("quant_algo");
  if (algorithm != "FP8") {
    fields.Fail("quant_algo", fmt::format("found \"{}\", expected \"FP8\"", algorithm));
  }
  format.ignored = PatternsOrNone(fields, Spelling(fields, "ignore", "exclude_modules"));
  return format;
}

WeightFormat ParseAwq(JsonFields& fields) {
  WeightFormat format{.coding = WeightCoding::kAwq};
  format.bits = RequireBits(fields, Spelling(fields, "bits", "w_bit"), {4});
  format.group_size = PositiveOrAll(fields, Spelling(fields, "group_size", "q_group_size"));
  const std::string_view layout_key = Spelling(fields, "version", "format");
  if (fields.Has(layout_key)) {
    const std::string layout = fields.String(layout_key);
    if (layout != "gemm" && layout != "GEMM") {
      fields.Fail(layout_key, fmt::format("found \"{}\", expected \"gemm\"", layout));
    }
  }
  if (fields.Has("zero_point") && !fields.Bool("zero_point")) {
    fields.Fail("zero_point", "found false, expected true");
  }
  format.ignored = PatternsOrNone(fields, "modules_to_not_convert");
  return format;
}

WeightFormat ParseGptq(JsonFields& fields) {
  WeightFormat format{.coding = WeightCoding::kGptq};
  format.bits = RequireBits(fields, "bits", {4, 8});
  format.group_size = PositiveOrAll(fields, "group_size");
  const std::string layout =
      fields.Has("checkpoint_format") ? fields.String("checkpoint_format") : "gptq";
  if (layout != "gptq" && layout != "gptq_v2") {
    fields.Fail("checkpoint_format",
                fmt::format("found \"{}\", expected \"gptq\" or \"gptq_v2\"", layout));
  }
  // The packers of the first layout subtract 1 from zero points before they store them.
  format.zero_offset = layout == "gptq" ? 1 : 0;
  if (fields.Has("dynamic") && !fields.Value("dynamic").empty()) {
    fields.Fail("dynamic", "found settings for single modules, expected the same for all");
  }
  return format;
}

// Reads the "weights" of one of the config_groups of compressed-tensors.
WeightFormat ParseScheme(JsonFields scheme) {
  WeightFormat format;
  const std::string type = scheme.String("type");
  const std::string strategy = scheme.String("strategy");
  const bool groups = strategy == "group";
  if (strategy != "tensor" && strategy != "channel" && strategy != "block" && !groups) {
    scheme.Fail("strategy",
                fmt::format("found \"{}\", expected tensor, channel, group or block", strategy));
  }
  if (type == "float") {
    format.coding = WeightCoding::kBytes;
    format.bits = RequireBits(scheme, "num_bits", {8});
  } else if (type == "int") {
    format.bits = RequireBits(scheme, "num_bits", {4, 8});
    format.coding = format.bits == 8 ? WeightCoding::kBytes : WeightCoding::kPacked;
  } else {
    scheme.Fail("type", fmt::format("found \"{}\", expected \"float\" or \"int\"", type));
  }
  format.symmetric = !scheme.Has("symmetric") || scheme.Bool("symmetric");
  if (format.coding == WeightCoding::kBytes) {
    if (!format.symmetric) scheme.Fail("symmetric", "found false, expected true with 8 bits");
    if (groups) format.block_rows = 1;
    if (groups) format.block_columns = PositiveOrAll(scheme, "group_size");
    if (strategy == "block") ReadBlock(scheme, "block_structure", format);
  } else {
    if (strategy != "channel" && !groups) {
      scheme.Fail("strategy",
                  fmt::format("found \"{}\", expected channel or group with 4 bits", strategy));
    }
    if (groups) format.group_size = PositiveOrAll(scheme, "group_size");
    if (scheme.Has("actorder") && scheme.Value("actorder") == "group") {
      scheme.Fail("actorder", "found \"group\", expected \"weight\" or none");
    }
  }
  return format;
}

WeightFormat ParseCompressedTensors(JsonFields& fields) {
  // Without a group no weight is quantized, whatever the layout is called.
  const bool has_groups = fields.Has("config_groups") && !fields.Value("config_groups").empty();
  if (!has_groups && QuantizesCache(fields)) return {};
  const std::string layout = fields.String("format");
  if (layout != "float-quantized" && layout != "int-quantized" && layout != "naive-quantized" &&
      layout != "pack-quantized") {
    fields.Fail("format", fmt::format("found \"{}\", expected float-quantized, int-quantized, "
                                      "naive-quantized or pack-quantized",
                                      layout));
  }
  if (fields.Has("sparsity_config") && !fields.Value("sparsity_config").empty()) {
    JsonFields sparsity = fields.Object("sparsity_config");
    RequireText(sparsity, "format", "dense");
  }
  JsonFields groups = fields.Object("config_groups");
  const std::vector<std::string> names = groups.Keys();
  if (names.size() != 1) {
    fields.Fail("config_groups", fmt::format("found {} groups, expected 1", names.size()));
  }
  WeightFormat format = ParseScheme(groups.Object(names[0]).Object("weights"));
  if ((format.coding == WeightCoding::kPacked) != (layout == "pack-quantized")) {
    fields.Fail("format",
                fmt::format("found \"{}\" with {}-bit weights, expected pack-quantized with "
                            "4 bits alone",
                            layout, format.bits));
  }
  format.ignored = PatternsOrNone(fields, "ignore");
  return format;
}

}  // namespace

WeightFormat ParseWeightFormat(JsonFields quantization_config) {
  const std::string method = quantization_config.String("quant_method");
  WeightFormat format;
  if (method == "fp8" || method == "fbgemm_fp8") {
    format = ParseFp8(quantization_config);
  } else if (method == "modelopt") {
    format = ParseModelOpt(quantization_config);
  } else if (method == "awq") {
    format = ParseAwq(quantization_config);
  } else if (method == "gptq") {
    format = ParseGptq(quantization_config);
  } else if (method == "mxfp4") {
    format.coding = WeightCoding::kMxfp4;
    format.bits = 4;
    format.ignored = PatternsOrNone(quantization_config, "modules_to_not_convert");
  } else if (method == "compressed-tensors") {
    format = ParseCompressedTensors(quantization_config);
  } else {
    quantization_config.Fail(
        "quant_method", fmt::format("found \"{}\", expected awq, compressed-tensors, fbgemm_fp8, "
                                    "fp8, gptq, modelopt or mxfp4",
                                    method));
  }
  return format;
}

WeightFormat ParseModelOptWeightFormat(JsonFields quantization) {
  WeightFormat format = ParseModelOpt(quantization);
  SayThatScalesAreNotApplied(quantization);
  return format;
}

WeightFormat ReadWeightFormat(const fs::path& model_directory) {
  const fs::path config_path = model_directory / "config.json";
  const Json config = ReadJsonFile(config_path);
  JsonFields fields(config, config_path.string());
  if (fields.Has("quantization_config")) {
    const JsonFields quantization = fields.Object("quantization_config");
    SayThatScalesAreNotApplied(quantization);
    return ParseWeightFormat(quantization);
  }
  const fs::path modelopt_path = model_directory / "hf_quant_config.json";
  if (!fs::exists(modelopt_path)) return {};
  const Json modelopt = ReadJsonFile(modelopt_path);
  return ParseModelOptWeightFormat(
      JsonFields(modelopt, modelopt_path.string()).Object("quantization"));
}

std::string Describe(const WeightFormat& format) {
  const auto grouped = [&](std::string_view name) {
    return format.group_size == 0
               ? fmt::format("{} {}-bit by output", name, format.bits)
               : fmt::format("{} {}-bit in groups of {}", name, format.bits, format.group_size);
  };
  switch (format.coding) {
    case WeightCoding::kFloat:
      return "float";
    case WeightCoding::kBytes:
      return format.block_columns == 0
                 ? "8-bit"
                 : fmt::format("8-bit in blocks of {}x{}", format.block_rows, format.block_columns);
    case WeightCoding::kAwq:
      return grouped("AWQ");
    case WeightCoding::kGptq:
      return grouped("GPTQ");
    case WeightCoding::kMxfp4:
      return "MXFP4";
    case WeightCoding::kPacked:
      return grouped("compressed-tensors");
  }
  return "float";
}

}  // namespace kvtune
