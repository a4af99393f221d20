#include "lib/run/model_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/split.h"
#include "lib/io/checkpoint.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBlanks = " \t\r";

std::vector<fs::path> ModelsIn(const fs::path& entry) {
  std::error_code ignored;
  if (fs::is_directory(entry, ignored)) return {entry};
  std::vector<fs::path> models;
  const std::string content = ReadFile(entry);
  for (const std::string& line : SplitAt('\n', WithoutByteOrderMark(content))) {
    const size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string::npos || line[begin] == '#') continue;
    models.emplace_back(line.substr(begin, line.find_last_not_of(kBlanks) + 1 - begin));
  }
  if (models.empty()) {
    throw Error(
        fmt::format("reading {}: found no model, expected one folder a line", entry.string()));
  }
  return models;
}

}  // namespace

std::vector<ListedModel> ReadModelList(const std::vector<fs::path>& entries) {
  std::vector<ListedModel> listed;
  for (const fs::path& entry : entries) {
    for (const fs::path& model : ModelsIn(entry)) {
      const std::string name = ModelName(model);
      const auto same = std::ranges::find(listed, name, &ListedModel::name);
      if (same != listed.end()) {
        throw Error(fmt::format("--models: found {} and {}, expected models of different names, "
                                "which their run directories get",
                                same->model.string(), model.string()),
                    ExitCode::kUsage);
      }
      listed.push_back({model, name});
    }
  }
  return listed;
}

}  // namespace kvtune
