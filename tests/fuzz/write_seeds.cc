// Usage: write_seeds CALIB_DATA FOLDER
#include <cstdio>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/fuzz/seeds.h"

namespace kvtune::fuzz {

void Seeds::Add(const std::string& fuzzer, const std::string& content) {
  const std::filesystem::path folder = folder_ / fuzzer;
  std::filesystem::create_directories(folder);
  WriteFileAtomically(folder / std::to_string(counts_[fuzzer]++), content);
}

void Seeds::Add(const std::string& fuzzer, std::initializer_list<size_t> choices,
                const std::string& content) {
  std::string bytes;
  for (const size_t choice : choices) bytes += static_cast<char>(choice);
  Add(fuzzer, bytes + content);
}

}  // namespace kvtune::fuzz

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: write_seeds CALIB_DATA FOLDER\n");
    return 2;
  }
  try {
    kvtune::fuzz::Seeds seeds(arguments[2]);
    kvtune::fuzz::AddInputSeeds(seeds, arguments[1]);
    kvtune::fuzz::AddArtifactSeeds(seeds);
  } catch (const kvtune::Error& error) {
    std::fprintf(stderr, "write_seeds: %s\n", error.what());
    return 1;
  }
  return 0;
}
