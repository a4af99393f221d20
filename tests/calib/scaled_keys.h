// A change of a checkpoint on disk that keeps the model's function and makes a layer's keys hard to
// quantize: both channels of a rotary pair of a KV head's keys grow, and the queries that read them
// shrink by as much.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {

// Multiplies rows of a matrix of `row_size` float32 in a single-file checkpoint.
inline void ScaleRows(const std::filesystem::path& model_directory, const std::string& tensor,
                      const std::vector<int>& rows, int row_size, float factor) {
  const std::filesystem::path path = model_directory / "model.safetensors";
  std::string content = ReadFile(path);
  uint64_t header_size = 0;
  std::memcpy(&header_size, content.data(), sizeof(header_size));
  const Json header = ParseJson(std::string_view(content).substr(8, header_size), path.string());
  const size_t begin = 8 + header_size + header[tensor]["data_offsets"][0].get<size_t>();
  for (const int row : rows) {
    for (int column = 0; column < row_size; ++column) {
      char* place =
          content.data() + begin + sizeof(float) * static_cast<size_t>(row * row_size + column);
      float value = 0;
      std::memcpy(&value, place, sizeof(value));
      value *= factor;
      std::memcpy(place, &value, sizeof(value));
    }
  }
  WriteFileAtomically(path, content);
}

struct ScaledPair {
  int layer = 0;
  int kv_head = 0;
  int rotary_pair = 0;  // below head_dim / 2
  float factor = 30;
};

inline void ScaleKeyPair(const TinyModel& model, const ScaledPair& pair,
                         const std::filesystem::path& model_directory) {
  const std::string attention = "model.layers." + std::to_string(pair.layer) + ".self_attn.";
  const int sharing = model.query_heads / model.kv_heads;
  std::vector<int> key_rows, query_rows;
  for (const int channel : {pair.rotary_pair, pair.rotary_pair + model.head_dim / 2}) {
    key_rows.push_back(pair.kv_head * model.head_dim + channel);
    for (int head = pair.kv_head * sharing; head < (pair.kv_head + 1) * sharing; ++head) {
      query_rows.push_back(head * model.head_dim + channel);
    }
  }
  const auto scale = [&](const std::string& kind, int row_size) {
    ScaleRows(model_directory, attention + "k_proj." + kind, key_rows, row_size, pair.factor);
    ScaleRows(model_directory, attention + "q_proj." + kind, query_rows, row_size, 1 / pair.factor);
  };
  scale("weight", model.hidden);
  if (model.architecture == "Qwen2ForCausalLM") scale("bias", 1);
}

}  // namespace kvtune
