#include "lib/io/checkpoint_index.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/base/json_fields.h"

namespace kvtune {

namespace fs = std::filesystem;

std::map<std::string, std::string> ParseCheckpointIndex(std::string_view text,
                                                        const std::string& source) {
  const Json index = ParseJson(text, source);
  JsonFields fields(index, source);
  JsonFields weight_map = fields.Object("weight_map");
  std::map<std::string, std::string> shard_names;
  for (const std::string& tensor : weight_map.Keys()) {
    const std::string shard = weight_map.String(tensor);
    // A checkpoint is data from elsewhere, so it must not make us read files outside its directory.
    if (shard.empty() || fs::path(shard).filename() != fs::path(shard) || shard == "..") {
      weight_map.Fail(
          tensor,
          fmt::format("found the shard \"{}\", expected a file name in the same directory", shard));
    }
    shard_names.emplace(tensor, shard);
  }
  if (shard_names.empty()) fields.Fail("weight_map", "found no tensors, expected some");
  return shard_names;
}

}  // namespace kvtune
