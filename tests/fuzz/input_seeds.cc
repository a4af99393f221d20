#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/base/random.h"
#include "lib/core/model_families.h"
#include "lib/io/safetensors_writer.h"
#include "lib/targets/target.h"
#include "tests/fuzz/seeds.h"
#include "tests/support/temporary_directory.h"

namespace kvtune::fuzz {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> SplitNames(const std::string& names) {
  std::vector<std::string> list;
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(", ", begin), names.size());
    list.push_back(names.substr(begin, end - begin));
    begin = end + 2;
  }
  return list;
}

void AddJson(Seeds& seeds) {
  for (const char* text :
       {R"({"a": [1, -2, 3.5e-7, true, null], "b": {"c": "d\u00e9\n"}})", "[[[[]]]]", "1e308",
        R"("\ud83d\ude00")", "{}", "-9223372036854775808", "18446744073709551615"}) {
    seeds.Add("json", text);
  }
}

void AddSafetensors(Seeds& seeds) {
  const TemporaryDirectory folder;
  const std::vector<Float32Tensor> tensors = {
      {"model.layers.0.self_attn.k_scale", {}, {0.25F}},
      {"model.embed_tokens.weight", {2, 3}, {1, 2, 3, 4, 5, 6}}};
  WriteSafetensors(folder / "a.safetensors", tensors);
  const std::string file = ReadFile(folder / "a.safetensors");
  seeds.Add("safetensors", {0}, file);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  seeds.Add("safetensors", {1, 28, 0}, file.substr(sizeof(length), length));
  seeds.Add("safetensors", {1, 16, 0},
            R"({"__metadata__": {"format": "pt"}, "a": {"dtype": "F8_E4M3", "shape": [4, 2], )"
            R"("data_offsets": [8, 16]}, "b": {"dtype": "F4", "shape": [16], "data_offsets": )"
            R"([0, 8]}, "c": {"dtype": "I64", "shape": [0], "data_offsets": [8, 8]}})");
  seeds.Add("checkpoint_index",
            R"({"metadata": {"total_size": 8}, "weight_map": {"model.norm.weight": )"
            R"("model-00001-of-00002.safetensors", "lm_head.weight": "b.safetensors"}})");
}

// A config with the fields that most families have, of this architecture.
Json ConfigOf(const std::string& architecture) {
  return {{"architectures", Json::array({architecture})},
          {"hidden_act", "silu"},
          {"hidden_size", 64},
          {"intermediate_size", 96},
          {"num_hidden_layers", 6},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"max_position_embeddings", 4096},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"vocab_size", 128},
          {"tie_word_embeddings", false}};
}

void AddModels(Seeds& seeds, const fs::path& calib_data) {
  const fs::path model = calib_data / "demo_model";
  seeds.Add("model_config", ReadFile(model / "config.json"));
  seeds.Add("tokenizer",
            ReadFile(model / "tokenizer.json") + "\xffIt's 3.14: na\xc3\xafve\n\n <s>");
  for (const std::string& architecture : SplitNames(FamilyNames())) {
    Json config = ConfigOf(architecture);
    seeds.Add("model_config", config.dump());
    config["sliding_window"] = 128;
    config["use_sliding_window"] = true;
    config["max_window_layers"] = 3;
    config["num_experts"] = 4;
    config["num_local_experts"] = 4;
    config["num_experts_per_tok"] = 2;
    config["moe_intermediate_size"] = 32;
    config["hidden_activation"] = "gelu_pytorch_tanh";
    seeds.Add("model_config", config.dump());
    Json whole = {{"architectures", Json::array({architecture})}, {"text_config", config}};
    whole["text_config"].erase("architectures");
    seeds.Add("model_config", whole.dump());
  }
}

void AddTexts(Seeds& seeds) {
  const char* texts[] = {
      "The quick brown fox, it's 12345 3.14 <s>!\n\n  and\tthe rest",
      "na\xc3\xafve \xe2\x96\x81\xe2\x96\x81 \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 \xcc\x81",
      "\xe4\xbd\xa0\xe5\xa5\xbd \xd0\xbf\xd1\x80\xd0\xb8 \xd8\xb9\xd8\xb1\xd8\xa8",
      "\xe1\x84\x80\xe1\x85\xa1 \xea\xb0\x80",
      "<0x41><s> <s>  aaaaaaaaaaaaaaaaaaaa the then thing"};
  for (size_t style = 0; style < 5; ++style) {
    for (const char* text : texts) seeds.Add("tokenizer_encode", {style}, text);
  }
}

std::string Gzipped(std::string text) {
  std::string bytes(text.size() + 128, '\0');
  z_stream stream{};
  constexpr int kGzip = 15 + 16;  // the largest window, with the header of a gzip file
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(text.data());
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  deflate(&stream, Z_FINISH);
  bytes.resize(stream.total_out);
  deflateEnd(&stream);
  return bytes;
}

std::string Zstandard(std::string_view text) {
  std::string bytes(ZSTD_compressBound(text.size()), '\0');
  bytes.resize(ZSTD_compress(bytes.data(), bytes.size(), text.data(), text.size(), 3));
  return bytes;
}

void AddPrompts(Seeds& seeds) {
  const char* texts[] = {"{\"text\": \"one two\"}\n{\"input_ids\": [1, 2, 3]}\n\n",
                         "[\n  \"a text\",\n  {\"text\": \"b\", \"id\": 4}\n]\n",
                         "{\"question\": \"2+2?\", \"answer\": \"4\"}\n",
                         "{\"prompt\": \"def f():\", \"canonical_solution\": \" pass\"}\n",
                         "{\"context\": \"c\", \"input\": \"i\", \"answers\": [\"a\", \"b\"]}\n",
                         "{\"turns\": [\"a\", \"b\"]}\n",
                         "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}\n",
                         "{\"conversations\": [{\"from\": \"human\", \"value\": \"hi\"}]}\n",
                         "[[{\"role\": \"user\", \"content\": \"hi\"}]]",
                         "\xef\xbb\xbfPlain text of a document.\n",
                         "PAR1",
                         "\xff\xfe\x20",
                         "version https://git-lfs.github.com/spec/v1\n"};
  for (size_t choice = 0; choice < 12; ++choice) {
    for (const char* text : texts) seeds.Add("prompts", {choice}, text);
    seeds.Add("prompts", {choice}, Gzipped(texts[0]));
    seeds.Add("prompts", {choice}, Zstandard(texts[0]));
  }
}

// Plans of a target, as the search could find them, in all of its forms.
void AddPlans(Seeds& seeds) {
  Random random(3);
  for (size_t index = 0; index < Targets().size(); ++index) {
    const Target& target = Targets()[index];
    ParetoFront front;
    front.run.target = target.name;
    front.run.version = "1.0";
    for (const size_t layers : {1u, 4u, 7u}) {
      std::vector<PrecisionPlan> plans = {target.shape.Uniform(target.pairs.front(), layers)};
      plans.push_back(plans.front());
      for (PrecisionPair& pair : plans.back().layers) {
        pair = target.shape.pairs.empty()
                   ? target.pairs[random.Below(target.pairs.size())]
                   : target.shape.pairs[random.Below(target.shape.pairs.size())];
      }
      for (const PrecisionPlan& plan : plans) {
        seeds.Add("plan_spec", {index, layers - 1}, PlanSpec(plan));
        seeds.Add("plan_line", {index, layers - 1},
                  Json({{"spec", PlanSpec(plan)}, {"name", "mine"}}).dump());
        for (const ExportSummary& format : target.exports) {
          ScoredPlan scored;
          scored.name = "p07";
          const std::optional<Misfit> misfit = FindMisfit(plan, target, format.name);
          scored.plan = misfit ? misfit->nearest : plan;
          try {
            const std::string text = ExportPlan(scored, front, format.name);
            seeds.Add("plan_file", {index, layers - 1}, text);
            if (text.front() == '{') seeds.Add("plan_line", {index, layers - 1}, "[" + text + "]");
          } catch (const Error&) {
            // The format has no form for a plan that quantizes nothing.
          }
        }
      }
    }
  }
}

}  // namespace

void AddInputSeeds(Seeds& seeds, const fs::path& calib_data) {
  AddJson(seeds);
  AddSafetensors(seeds);
  AddModels(seeds, calib_data);
  AddTexts(seeds);
  AddPrompts(seeds);
  AddPlans(seeds);
}

}  // namespace kvtune::fuzz
