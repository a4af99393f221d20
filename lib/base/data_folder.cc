#include "lib/base/data_folder.h"

#include <cstdlib>
#include <string_view>
#include <system_error>

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShared = "share/kvtune";

// Empty where the system does not say.
fs::path Program() {
  std::error_code unknown;
  return fs::read_symlink("/proc/self/exe", unknown);
}

// Every share/kvtune/NAME that exists in a folder above the program, the nearest one first.
std::vector<fs::path> FindShared(std::string_view name) {
  std::vector<fs::path> found;
  std::error_code unknown;
  for (fs::path above = Program(); above.has_relative_path();) {
    above = above.parent_path();
    if (fs::exists(above / kShared / name, unknown)) found.push_back(above / kShared / name);
  }
  return found;
}

}  // namespace

std::vector<fs::path> DataFolders() {
  std::vector<fs::path> folders = FindShared("calib_data");
  const char* chosen = std::getenv("KVTUNE_DATA_DIR");
  if (chosen != nullptr) folders.insert(folders.begin(), chosen);
  return folders;
}

std::string ChatRenderer() {
  const std::vector<fs::path> installed = FindShared("render_chat.py");
  return installed.empty() ? "scripts/render_chat.py" : installed.front().string();
}

std::string DescribeDataFolders() {
  const char* chosen = std::getenv("KVTUNE_DATA_DIR");
  return (chosen == nullptr ? std::string() : std::string(chosen) + " (KVTUNE_DATA_DIR) or in ") +
         kShared + "/calib_data of a folder above " + Program().string();
}

}  // namespace kvtune
