#include "lib/base/scratch_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "lib/base/error.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// TMPDIR for one test.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::filesystem::path& path) {
    ::setenv("TMPDIR", path.c_str(), 1);
  }
  ~TemporaryFolder() { ::unsetenv("TMPDIR"); }
};

TEST(ScratchFile, KeepsItsContentWhenEvicted) {
  const ScratchFile file(3 * ScratchFile::kPageBytes);
  ASSERT_EQ(file.bytes().size(), 3 * ScratchFile::kPageBytes);
  for (size_t i = 0; i < file.bytes().size(); ++i)
    file.bytes()[i] = static_cast<std::byte>(i % 251);
  file.Evict(file.bytes());
  for (size_t i = 0; i < file.bytes().size(); ++i)
    ASSERT_EQ(file.bytes()[i], static_cast<std::byte>(i % 251)) << i;
}

TEST(ScratchFile, HasNoNameWhileItIsOpen) {
  const TemporaryDirectory directory;
  const TemporaryFolder folder(directory.path());
  const ScratchFile file(1000);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(ScratchFile, NamesTheFolderThatCannotHoldIt) {
  const TemporaryDirectory directory;
  const TemporaryFolder folder(directory.path());
  EXPECT_THAT([] { ScratchFile(size_t{1} << 60); },
              ::testing::ThrowsMessage<Error>(
                  AllOf(HasSubstr("making a temporary file of 1152921504606846976 bytes in"),
                        HasSubstr(directory.path().string()), HasSubstr("TMPDIR"))));
}

TEST(ScratchFile, NamesTheFolderThatIsNotThere) {
  const TemporaryFolder folder("/no/such/folder");
  EXPECT_THAT([] { ScratchFile(10); },
              ::testing::ThrowsMessage<Error>(
                  AllOf(HasSubstr("in /no/such/folder: No such"), HasSubstr("TMPDIR"))));
}

}  // namespace
}  // namespace kvtune
