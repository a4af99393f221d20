// The inputs that fuzzers start from, made by the project's own writers.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace kvtune::fuzz {

// Collects the seeds of fuzzers in a folder: FOLDER/FUZZER/NUMBER.
class Seeds {
 public:
  explicit Seeds(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void Add(const std::string& fuzzer, const std::string& content);
  // A seed behind the bytes that choose a case (TakeChoice in fuzzer.h).
  void Add(const std::string& fuzzer, std::initializer_list<size_t> choices,
           const std::string& content);

 private:
  std::filesystem::path folder_;
  std::map<std::string, size_t> counts_;
};

// What comes from elsewhere: configs, weights, tokenizers, prompts and plans. `calib_data` is the
// folder with the bundled model and prompts.
void AddInputSeeds(Seeds& seeds, const std::filesystem::path& calib_data);
// What kvtune itself writes: artifacts of a run, its log, configs and baselines of the gate.
void AddArtifactSeeds(Seeds& seeds);

}  // namespace kvtune::fuzz
