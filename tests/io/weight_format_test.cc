#include "lib/io/weight_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

WeightFormat Parse(const Json& settings) {
  return ParseWeightFormat(JsonFields(settings, "config.json: q"));
}

auto Parsing(const Json& settings) {
  return [settings] { Parse(settings); };
}

// What llm-compressor writes, cut to the keys that say how weights are stored.
Json CompressedTensors(const std::string& layout, const Json& weights) {
  return {{"quant_method", "compressed-tensors"},
          {"format", layout},
          {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}},
          {"ignore", {"lm_head"}}};
}

TEST(WeightFormat, Float8HasBlocksOrOneScale) {
  const WeightFormat blocks = Parse({{"quant_method", "fp8"},
                                     {"fmt", "e4m3"},
                                     {"weight_block_size", {128, 64}},
                                     {"modules_to_not_convert", {"lm_head"}}});
  EXPECT_EQ(blocks.coding, WeightCoding::kBytes);
  EXPECT_EQ(blocks.block_rows, 128);
  EXPECT_EQ(blocks.block_columns, 64);
  EXPECT_THAT(blocks.ignored.entries(), ElementsAre("lm_head"));
  EXPECT_EQ(Describe(blocks), "8-bit in blocks of 128x64");

  for (const char* method : {"fp8", "fbgemm_fp8"}) {
    const WeightFormat whole = Parse({{"quant_method", method}, {"weight_block_size", nullptr}});
    EXPECT_EQ(whole.block_columns, 0);
    EXPECT_EQ(Describe(whole), "8-bit");
  }
  EXPECT_EQ(Parse({{"quant_method", "modelopt"}, {"quant_algo", "FP8"}}).coding,
            WeightCoding::kBytes);
  // Only the KV cache is quantized, as kvtune's own export says it.
  EXPECT_EQ(Parse({{"quant_method", "modelopt"},
                   {"quant_algo", nullptr},
                   {"kv_cache_quant_algo", "MIXED_PRECISION"}})
                .coding,
            WeightCoding::kFloat);
}

TEST(WeightFormat, ACacheSchemeAloneLeavesWeightsAsFloats) {
  const Json scheme = {{"num_bits", 8}, {"type", "float"}};
  EXPECT_EQ(Describe(Parse({{"quant_method", "compressed-tensors"},
                            {"format", "dense"},
                            {"config_groups", Json::object()},
                            {"kv_cache_scheme", scheme}})),
            "float");
  EXPECT_EQ(Describe(Parse({{"quant_method", "modelopt"}, {"kv_cache_scheme", scheme}})), "float");
  // Beside groups it takes nothing away from them.
  Json both = CompressedTensors("float-quantized",
                                {{"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}});
  both["kv_cache_scheme"] = scheme;
  EXPECT_EQ(Describe(Parse(both)), "8-bit");
}

TEST(WeightFormat, AwqAndGptqAreReadInBothSpellings) {
  for (const Json& settings :
       {Json{{"quant_method", "awq"}, {"bits", 4}, {"group_size", 128}, {"version", "gemm"}},
        Json{{"quant_method", "awq"}, {"w_bit", 4}, {"q_group_size", 128}}}) {
    EXPECT_EQ(Parse(settings).coding, WeightCoding::kAwq);
    EXPECT_EQ(Describe(Parse(settings)), "AWQ 4-bit in groups of 128");
  }
  const Json gptq = {{"quant_method", "gptq"}, {"bits", 8}, {"group_size", -1}};
  EXPECT_EQ(Describe(Parse(gptq)), "GPTQ 8-bit by output");
  EXPECT_EQ(Parse(gptq).zero_offset, 1);
  Json second = gptq;
  second["checkpoint_format"] = "gptq_v2";
  EXPECT_EQ(Parse(second).zero_offset, 0);
}

TEST(WeightFormat, CompressedTensorsSchemesAreRead) {
  const WeightFormat channel = Parse(CompressedTensors(
      "float-quantized",
      {{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}, {"symmetric", true}}));
  EXPECT_EQ(channel.coding, WeightCoding::kBytes);
  EXPECT_EQ(channel.block_columns, 0);
  EXPECT_THAT(channel.ignored.entries(), ElementsAre("lm_head"));
  const WeightFormat block =
      Parse(CompressedTensors("float-quantized", {{"num_bits", 8},
                                                  {"type", "float"},
                                                  {"strategy", "block"},
                                                  {"block_structure", {128, 128}}}));
  EXPECT_EQ(Describe(block), "8-bit in blocks of 128x128");
  const WeightFormat packed = Parse(CompressedTensors("pack-quantized", {{"num_bits", 4},
                                                                         {"type", "int"},
                                                                         {"strategy", "group"},
                                                                         {"group_size", 32},
                                                                         {"symmetric", false}}));
  EXPECT_EQ(Describe(packed), "compressed-tensors 4-bit in groups of 32");
  EXPECT_FALSE(packed.symmetric);
}

TEST(WeightFormat, UnknownMethodsBitsAndOptionsAreNamed) {
  EXPECT_THAT(Parsing({{"quant_method", "bitsandbytes"}}),
              ThrowsMessage<Error>(StrEq("config.json: q: \"quant_method\": found "
                                         "\"bitsandbytes\", expected awq, compressed-tensors, "
                                         "fbgemm_fp8, fp8, gptq, modelopt or mxfp4")));
  EXPECT_THAT(Parsing({{"quant_method", "gptq"}, {"bits", 3}, {"group_size", 128}}),
              ThrowsMessage<Error>(HasSubstr("\"bits\": found 3, expected 4 or 8")));
  EXPECT_THAT(Parsing({{"quant_method", "awq"}, {"w_bit", 8}, {"q_group_size", 128}}),
              ThrowsMessage<Error>(HasSubstr("\"w_bit\": found 8, expected 4")));
  EXPECT_THAT(
      Parsing({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 0}}),
      ThrowsMessage<Error>(HasSubstr("\"group_size\": found 0, expected a positive number or -1")));
  EXPECT_THAT(
      Parsing({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}, {"version", "gemv"}}),
      ThrowsMessage<Error>(HasSubstr("\"version\": found \"gemv\", expected \"gemm\"")));
  EXPECT_THAT(
      Parsing({{"quant_method", "awq"}, {"bits", 4}, {"group_size", 64}, {"zero_point", false}}),
      ThrowsMessage<Error>(HasSubstr("\"zero_point\": found false, expected true")));
  EXPECT_THAT(
      Parsing({{"quant_method", "gptq"},
               {"bits", 4},
               {"group_size", 64},
               {"checkpoint_format", "marlin"}}),
      ThrowsMessage<Error>(HasSubstr("found \"marlin\", expected \"gptq\" or \"gptq_v2\"")));
  EXPECT_THAT(Parsing({{"quant_method", "gptq"},
                       {"bits", 4},
                       {"group_size", 64},
                       {"dynamic", {{"-:lm_head", 1}}}}),
              ThrowsMessage<Error>(HasSubstr("\"dynamic\": found settings for single modules")));
  EXPECT_THAT(Parsing({{"quant_method", "fp8"}, {"fmt", "e5m2"}}),
              ThrowsMessage<Error>(HasSubstr("\"fmt\": found \"e5m2\", expected \"e4m3\"")));
  EXPECT_THAT(Parsing({{"quant_method", "fp8"}, {"weight_block_size", {128}}}),
              ThrowsMessage<Error>(HasSubstr("found [128], expected two positive numbers")));
  EXPECT_THAT(Parsing({{"quant_method", "modelopt"}, {"quant_algo", "NVFP4"}}),
              ThrowsMessage<Error>(HasSubstr("\"quant_algo\": found \"NVFP4\", expected \"FP8\"")));
  EXPECT_THAT(Parsing({{"bits", 4}}),
              ThrowsMessage<Error>(HasSubstr("\"quant_method\": found nothing")));
}

TEST(WeightFormat, UnknownCompressedTensorsSchemesAreNamed) {
  const Json weights = {{"num_bits", 8}, {"type", "float"}, {"strategy", "channel"}};
  EXPECT_THAT(Parsing(CompressedTensors("nvfp4-pack-quantized", weights)),
              ThrowsMessage<Error>(HasSubstr(
                  "\"format\": found \"nvfp4-pack-quantized\", expected float-quantized")));
  EXPECT_THAT(
      Parsing(CompressedTensors("pack-quantized", weights)),
      ThrowsMessage<Error>(HasSubstr("\"format\": found \"pack-quantized\" with 8-bit weights")));
  const auto with = [&](const Json& changes) {
    Json changed = weights;
    changed.update(changes);
    return Parsing(CompressedTensors("float-quantized", changed));
  };
  EXPECT_THAT(with({{"num_bits", 4}}),
              ThrowsMessage<Error>(HasSubstr("\"num_bits\": found 4, expected 8")));
  EXPECT_THAT(
      with({{"strategy", "token"}}),
      ThrowsMessage<Error>(HasSubstr("found \"token\", expected tensor, channel, group or block")));
  EXPECT_THAT(with({{"type", "complex"}}), ThrowsMessage<Error>(HasSubstr("found \"complex\"")));
  EXPECT_THAT(with({{"symmetric", false}}),
              ThrowsMessage<Error>(HasSubstr("expected true with 8 bits")));
  Json two = CompressedTensors("float-quantized", weights);
  two["config_groups"]["group_1"] = two["config_groups"]["group_0"];
  EXPECT_THAT(Parsing(two),
              ThrowsMessage<Error>(HasSubstr("\"config_groups\": found 2 groups, expected 1")));
  Json sparse = CompressedTensors("float-quantized", weights);
  sparse["sparsity_config"] = {{"format", "sparse-24-bitmask"}};
  EXPECT_THAT(Parsing(sparse),
              ThrowsMessage<Error>(HasSubstr("found \"sparse-24-bitmask\", expected \"dense\"")));
}

TEST(WeightFormat, PatternsAreCheckedWhenTheConfigIsRead) {
  EXPECT_THAT(Parsing({{"quant_method", "fp8"}, {"modules_to_not_convert", {"re:("}}}),
              ThrowsMessage<Error>(
                  HasSubstr("config.json: q: \"modules_to_not_convert\": found the regular "
                            "expression \"re:(\", expected one that Oniguruma compiles")));
}

TEST(WeightFormat, ComesFromConfigOrFromModelOptsFile) {
  const TemporaryDirectory directory;
  WriteJsonFileAtomically(directory / "config.json", {{"quantization_config", nullptr}});
  EXPECT_EQ(Describe(ReadWeightFormat(directory.path())), "float");
  WriteJsonFileAtomically(
      directory / "hf_quant_config.json",
      {{"quantization", {{"quant_algo", "FP8"}, {"exclude_modules", {"lm_head"}}}}});
  EXPECT_EQ(Describe(ReadWeightFormat(directory.path())), "8-bit");
  EXPECT_TRUE(ReadWeightFormat(directory.path()).ignored.Name("lm_head"));
  WriteJsonFileAtomically(directory / "config.json",
                          {{"quantization_config", {{"quant_method", "quip"}}}});
  EXPECT_THAT([&] { ReadWeightFormat(directory.path()); },
              ThrowsMessage<Error>(
                  HasSubstr("config.json: quantization_config: \"quant_method\": found \"quip\"")));
}

TEST(WeightFormat, FieldsOfEveryMethodAreRead) {
  const WeightFormat awq = Parse({{"quant_method", "awq"},
                                  {"bits", 4},
                                  {"w_bit", 8},
                                  {"group_size", 1},
                                  {"format", "GEMM"},
                                  {"zero_point", true}});
  EXPECT_EQ(awq.bits, 4);
  EXPECT_EQ(awq.group_size, 1);
  EXPECT_EQ(Parse({{"quant_method", "awq"}, {"bits", 4}, {"group_size", -1}}).group_size, 0);

  const WeightFormat gptq = Parse(
      {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 64}, {"dynamic", Json::object()}});
  EXPECT_EQ(gptq.coding, WeightCoding::kGptq);
  EXPECT_EQ(gptq.bits, 4);
  EXPECT_EQ(gptq.group_size, 64);
  EXPECT_EQ(Describe(gptq), "GPTQ 4-bit in groups of 64");

  const WeightFormat mxfp4 =
      Parse({{"quant_method", "mxfp4"}, {"modules_to_not_convert", {"lm_head"}}});
  EXPECT_EQ(mxfp4.coding, WeightCoding::kMxfp4);
  EXPECT_EQ(mxfp4.bits, 4);
  EXPECT_EQ(Describe(mxfp4), "MXFP4");

  EXPECT_EQ(Parse({{"quant_method", "fp8"}, {"weight_block_size", {1, 1}}}).block_rows, 1);
  for (const Json& block : {Json{0, 1}, Json{1, 0}, Json{1}, Json{1, 1, 1}}) {
    EXPECT_THROW(Parse({{"quant_method", "fp8"}, {"weight_block_size", block}}), Error) << block;
  }
}

TEST(WeightFormat, SchemesOfCompressedTensorsSayTheirCoding) {
  const auto parsed = [](const char* layout, const Json& weights) {
    return Parse(CompressedTensors(layout, weights));
  };
  const WeightFormat int8 =
      parsed("int-quantized",
             {{"num_bits", 8}, {"type", "int"}, {"strategy", "group"}, {"group_size", 128}});
  EXPECT_EQ(int8.coding, WeightCoding::kBytes);
  EXPECT_EQ(int8.bits, 8);
  EXPECT_EQ(int8.block_rows, 1);
  EXPECT_EQ(int8.block_columns, 128);
  EXPECT_TRUE(int8.symmetric);
  const WeightFormat tensor =
      parsed("naive-quantized", {{"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}});
  EXPECT_EQ(Describe(tensor), "8-bit");
  EXPECT_EQ(tensor.block_rows, 0);
  const WeightFormat packed =
      parsed("pack-quantized",
             {{"num_bits", 4}, {"type", "int"}, {"strategy", "channel"}, {"actorder", "weight"}});
  EXPECT_EQ(packed.coding, WeightCoding::kPacked);
  EXPECT_EQ(packed.group_size, 0);
  EXPECT_EQ(Describe(packed), "compressed-tensors 4-bit by output");
  const Json int4 = {{"num_bits", 4}, {"type", "int"}, {"strategy", "channel"}};
  EXPECT_THROW(parsed("int-quantized", int4), Error);
  Json in_order = int4;
  in_order["actorder"] = "group";
  EXPECT_THAT([&] { parsed("pack-quantized", in_order); },
              ThrowsMessage<Error>(HasSubstr("\"actorder\": found \"group\", expected")));
  Json by_tensor = int4;
  by_tensor["strategy"] = "tensor";
  EXPECT_THAT([&] { parsed("pack-quantized", by_tensor); },
              ThrowsMessage<Error>(HasSubstr("expected channel or group with 4 bits")));
}

}  // namespace
}  // namespace kvtune
