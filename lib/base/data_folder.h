// Where the files that come with the program are: the bundled prompts and the demo model.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kvtune {

// The folders that may hold them, the first one to be looked at first: $KVTUNE_DATA_DIR, then
// share/kvtune/calib_data in a folder above the program, the nearest one first. That is where an
// installation has them (PREFIX/bin/kvtune) as well as a build tree. The latter exist.
std::vector<std::filesystem::path> DataFolders();

// The command that renders chats: that of the installation, else the script of the sources.
std::string ChatRenderer();

// Where DataFolders looks, in words, for messages.
std::string DescribeDataFolders();

}  // namespace kvtune
