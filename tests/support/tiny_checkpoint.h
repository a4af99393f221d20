// A random decoder written to disk in Hugging Face form, small enough for millisecond tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace kvtune {

struct TinyModel {
  std::string architecture = "LlamaForCausalLM";
  int layers = 3;
  int hidden = 32;
  int intermediate = 48;
  int query_heads = 4;
  int kv_heads = 2;
  int head_dim = 16;
  int vocab = 64;
  int context = 256;
  bool tied = true;
  // sliding_window of the layers that have one in this architecture; 0: none
  int window = 0;
  uint64_t seed = 0;
};

// Writes config.json and model.safetensors (float32) of LlamaForCausalLM, MistralForCausalLM
// (windows in every layer), Qwen2ForCausalLM (query, key and value biases), Gemma2ForCausalLM (soft
// caps, norms around, windows in every other layer) or GptOssForCausalLM (sinks, experts, biases,
// windows as Gemma 2).
void WriteTinyCheckpoint(const TinyModel& model, const std::filesystem::path& directory);

}  // namespace kvtune
