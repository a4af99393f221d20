#include "lib/run/model_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class ModelListTest : public ::testing::Test {
 protected:
  std::filesystem::path Listing(const std::string& content) {
    const std::filesystem::path file = folder.path() / "models.txt";
    WriteFileAtomically(file, content);
    return file;
  }
  TemporaryDirectory folder;
};

TEST_F(ModelListTest, FoldersAndFilesOfThem) {
  std::filesystem::create_directory(folder.path() / "own");
  const auto models = ReadModelList(
      {Listing("# fine-tunes\n\n  models/a \r\nmodels/b c\nmodels/d/"), folder.path() / "own"});
  ASSERT_EQ(models.size(), 4u);
  EXPECT_EQ(models[0].model, "models/a");
  EXPECT_EQ(models[0].name, "a");
  EXPECT_EQ(models[1].model, "models/b c");
  EXPECT_EQ(models[2].name, "d");
  EXPECT_EQ(models[3].model, folder.path() / "own");
  EXPECT_EQ(models[3].name, "own");
}

TEST_F(ModelListTest, AByteOrderMarkIsNoPartOfAName) {
  const auto models = ReadModelList({Listing("\xef\xbb\xbfmodels/a\n")});
  ASSERT_EQ(models.size(), 1U);
  EXPECT_EQ(models[0].model, "models/a");
}

TEST_F(ModelListTest, TwoModelsOfOneNameWouldShareARun) {
  EXPECT_THAT([&] { ReadModelList({Listing("x/same\ny/same\n")}); },
              ThrowsMessage<Error>(HasSubstr("--models: found x/same and y/same, expected models "
                                             "of different names")));
}

TEST_F(ModelListTest, AFileWithoutModelsIsRefused) {
  EXPECT_THAT([&] { ReadModelList({Listing("\n# none\n")}); },
              ThrowsMessage<Error>(HasSubstr("found no model, expected one folder a line")));
  EXPECT_THROW(ReadModelList({folder.path() / "missing.txt"}), Error);
}

}  // namespace
}  // namespace kvtune
