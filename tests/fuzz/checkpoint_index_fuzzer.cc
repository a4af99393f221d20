// model.safetensors.index.json. No name of a shard leads out of the directory.
#include <filesystem>

#include "lib/io/checkpoint_index.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const std::filesystem::path folder = "folder";
    for (const auto& [tensor, shard] : ParseCheckpointIndex(fuzz::TextOf(data, size), "index")) {
      fuzz::Require((folder / shard).lexically_normal().parent_path() == folder,
                    "a shard is a file of the directory");
    }
  });
}
