#include "apps/kvtune/build_facts.h"

#include <fmt/format.h>

#include "lib/base/data_folder.h"
#include "lib/base/version.h"

namespace kvtune {

extern const char* const
    kCommit;  // in a source that each build writes, see cmake/WriteCommit.cmake

std::string VersionText() {
  const auto folders = DataFolders();
  return fmt::format(
      "kvtune {}\n"
      "commit:       {}\n"
      "libtorch:     {}\n"
      "CUDA kernels: {}\n"
      "pagmo2:       {}\n"
      "compiler:     {}\n"
      "data:         {}\n",
      Version(), kCommit, KVTUNE_TORCH_FACT, KVTUNE_CUDA_KERNEL_FACT, KVTUNE_PAGMO_FACT,
      KVTUNE_COMPILER_FACT,
      folders.empty() ? "none in " + DescribeDataFolders() : folders.front().string());
}

}  // namespace kvtune
