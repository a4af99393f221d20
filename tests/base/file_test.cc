#include "lib/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <iterator>

#include "lib/base/error.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

size_t FilesIn(const fs::path& path) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
}

TEST(File, ContentReadsBackByteForByte) {
  const TemporaryDirectory directory;
  std::string content(200000, 'x');
  content += std::string("\0\r\n\xff", 4);
  WriteFileAtomically(directory / "file", content);
  EXPECT_EQ(ReadFile(directory / "file"), content);
  WriteFileAtomically(directory / "file", "");
  EXPECT_EQ(ReadFile(directory / "file"), "");
}

TEST(File, AtomicWriteLeavesNoOtherFile) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "file", "old");
  WriteFileAtomically(directory / "file", "new");
  EXPECT_EQ(FilesIn(directory.path()), 1u);
}

TEST(File, FailedWriteLeavesWhatWasThere) {
  const TemporaryDirectory directory;
  // Renaming a file over a folder fails after the content is written.
  fs::create_directory(directory / "target");
  WriteFileAtomically(directory / "target/inside", "old");
  EXPECT_THAT([&] { WriteFileAtomically(directory / "target", "new"); },
              ThrowsMessage<Error>(
                  StrEq("writing " + (directory / "target").string() + ": Is a directory")));
  EXPECT_EQ(ReadFile(directory / "target/inside"), "old");
  EXPECT_EQ(FilesIn(directory.path()), 1u);
}

TEST(File, WriteIntoAFolderThatIsNotThereNamesTheFile) {
  const TemporaryDirectory directory;
  EXPECT_THAT([&] { WriteFileAtomically(directory / "none/file", "x"); },
              ThrowsMessage<Error>(HasSubstr("none/file: No such file or directory")));
}

TEST(File, MissingFileIsNamedWithTheReason) {
  EXPECT_THAT([] { ReadFile("/nonexistent/file"); },
              ThrowsMessage<Error>(StrEq("reading /nonexistent/file: No such file or directory")));
  EXPECT_THAT([] { MappedFile("/nonexistent/file"); },
              ThrowsMessage<Error>(StrEq("opening /nonexistent/file: No such file or directory")));
}

TEST(File, AppendCreatesAndExtends) {
  const TemporaryDirectory directory;
  AppendToFile(directory / "log", "one\n");
  AppendToFile(directory / "log", "two\nthree\n");
  EXPECT_EQ(ReadFile(directory / "log"), "one\ntwo\nthree\n");
  EXPECT_THROW(AppendToFile(directory / "none/log", "x\n"), Error);
}

TEST(File, WritableDirectoryIsMadeWithItsParents) {
  const TemporaryDirectory directory;
  CreateWritableDirectory(directory / "a/b/c");
  EXPECT_TRUE(fs::is_directory(directory / "a/b/c"));
  CreateWritableDirectory(directory / "a/b/c");
  WriteFileAtomically(directory / "file", "x");
  EXPECT_THAT([&] { CreateWritableDirectory(directory / "file/sub"); },
              ThrowsMessage<Error>(HasSubstr("creating the output folder")));
}

TEST(File, MapShowsTheWholeFile) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "file", "bytes");
  const MappedFile file(directory / "file");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()),
            "bytes");
  EXPECT_EQ(file.path(), directory / "file");
}

TEST(File, MapOfNothingIsEmptyAndFoldersAreRefused) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "empty", "");
  EXPECT_TRUE(MappedFile(directory / "empty").bytes().empty());
  EXPECT_THAT([&] { MappedFile{directory.path()}; },
              ThrowsMessage<Error>(HasSubstr("found something else, expected a regular file")));
}

TEST(File, DroppedPagesReadTheSame) {
  const TemporaryDirectory directory;
  const std::string content(100'000, 'x');
  WriteFileAtomically(directory / "map", content);
  const MappedFile file(directory / "map");
  DropPages(file.bytes().subspan(5000, 50'000));
  DropPages({});
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()),
            content);
}

TEST(File, WritesNothingThroughALink) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "mine", "mine");
  const std::filesystem::path link = folder / "link";
  std::filesystem::create_symlink(folder / "mine", link);
  EXPECT_THROW(AppendToFile(link, "line\n"), Error);
  // The name of the temporary file beside "new".
  std::filesystem::create_symlink(folder / "mine",
                                  folder / ("new.tmp" + std::to_string(::getpid())));
  WriteFileAtomically(folder / "new", "new");
  WriteFileAtomically(link, "new");
  EXPECT_EQ(ReadFile(folder / "mine"), "mine");
  EXPECT_EQ(ReadFile(folder / "new"), "new");
  EXPECT_EQ(ReadFile(link), "new");
}

}  // namespace
}  // namespace kvtune
