// model.safetensors.index.json, which says which shard of a checkpoint has which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace kvtune {

// Maps each tensor's name to the name of its shard's file. `source` names the index in messages.
// Throws Error when it lists no tensors, and for a shard that is not a file of the same directory.
std::map<std::string, std::string> ParseCheckpointIndex(std::string_view text,
                                                        const std::string& source);

}  // namespace kvtune
