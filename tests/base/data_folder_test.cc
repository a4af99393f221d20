#include "lib/base/data_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::Not;

TEST(DataFolder, OfABuildTreeIsThatOfTheSources) {
  ::unsetenv("KVTUNE_DATA_DIR");
  ASSERT_FALSE(DataFolders().empty());
  EXPECT_TRUE(fs::equivalent(DataFolders().front(), fs::path(KVTUNE_SOURCE_DIR) / "calib_data"));
}

TEST(DataFolder, OfTheEnvironmentComesFirst) {
  const TemporaryDirectory folder;
  ::setenv("KVTUNE_DATA_DIR", folder.path().c_str(), 1);
  ASSERT_GE(DataFolders().size(), 2u);
  EXPECT_EQ(DataFolders().front(), folder.path());
  EXPECT_THAT(DescribeDataFolders(), HasSubstr(folder.path().string() + " (KVTUNE_DATA_DIR)"));
  ::unsetenv("KVTUNE_DATA_DIR");
  EXPECT_THAT(DescribeDataFolders(), Not(HasSubstr("KVTUNE_DATA_DIR")));
  EXPECT_THAT(DescribeDataFolders(), HasSubstr("base_test"));
}

TEST(DataFolder, OfABuildHasTheChatRendererOfTheClone) {
  EXPECT_TRUE(
      fs::equivalent(ChatRenderer(), fs::path(KVTUNE_SOURCE_DIR) / "scripts" / "render_chat.py"))
      << ChatRenderer();
}

}  // namespace
}  // namespace kvtune
