#include "lib/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>

#include "lib/base/error.h"
#include "tests/support/system_faults.h"
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

TEST(File, RefusesToReadWhatIsNoRegularFile) {
  const TemporaryDirectory folder;
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);  // nobody writes: open() would wait
  fs::create_symlink(folder / "fifo", folder / "link");
  const auto reading = [](const fs::path& path) { return [path] { ReadFile(path); }; };
  EXPECT_THAT(reading(folder / "fifo"),
              ThrowsMessage<Error>(StrEq("reading " + (folder / "fifo").string() +
                                         ": found a pipe, expected a regular file")));
  EXPECT_THAT(reading(folder / "link"), ThrowsMessage<Error>(HasSubstr("found a pipe")));
  EXPECT_THAT(reading(folder.path()), ThrowsMessage<Error>(HasSubstr("found a folder")));
  EXPECT_THAT(reading("/dev/null"), ThrowsMessage<Error>(HasSubstr("found a device")));
  EXPECT_THAT(reading(std::string(300, 'n')),
              ThrowsMessage<Error>(HasSubstr("File name too long")));
  fs::create_symlink("loop", folder / "loop");
  EXPECT_THAT(reading(folder / "loop"),
              ThrowsMessage<Error>(HasSubstr("Too many levels of symbolic links")));
}

TEST(File, ReadsThroughALink) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "file", "content");
  fs::create_symlink("file", folder / "link");
  EXPECT_EQ(ReadFile(folder / "link"), "content");
}

TEST(File, AnOutputIsWrittenThroughALinkThatStays) {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "elsewhere");
  WriteFileAtomically(folder / "elsewhere/report", "old");
  fs::permissions(folder / "elsewhere/report", fs::perms(0640));
  fs::create_symlink("elsewhere/report", folder / "link");
  fs::create_symlink("link", folder / "link_to_link");
  WriteOutputFile(folder / "link_to_link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_TRUE(fs::is_symlink(folder / "link_to_link"));
  EXPECT_EQ(ReadFile(folder / "elsewhere/report"), "new");
  EXPECT_EQ(fs::status(folder / "elsewhere/report").permissions(), fs::perms(0640));
  EXPECT_EQ(FilesIn(folder / "elsewhere"), 1u);
  // What a link leads to need not be there yet.
  fs::create_symlink("elsewhere/new", folder / "dangling");
  WriteOutputFile(folder / "dangling", "made");
  EXPECT_EQ(ReadFile(folder / "elsewhere/new"), "made");
}

TEST(File, AnOutputIsNeverAPipeAFolderOrAStream) {
  const TemporaryDirectory folder;
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  fs::create_symlink("loop", folder / "loop");
  const auto writing = [](const fs::path& path) { return [path] { WriteOutputFile(path, "x"); }; };
  EXPECT_THAT(writing(folder / "fifo"),
              ThrowsMessage<Error>(StrEq("writing " + (folder / "fifo").string() +
                                         ": found a pipe, expected a regular file")));
  EXPECT_THAT(writing(folder.path()), ThrowsMessage<Error>(HasSubstr("found a folder")));
  fs::create_symlink("/proc/self/fd/1", folder / "stdout");  // as /dev/stdout leads there
  EXPECT_THAT(writing(folder / "stdout"),
              ThrowsMessage<Error>(HasSubstr("found a stream of the process")));
  EXPECT_THAT(writing(folder / "loop"), ThrowsMessage<Error>(HasSubstr("Too many levels")));
  EXPECT_TRUE(fs::is_fifo(folder / "fifo"));
  EXPECT_TRUE(fs::is_symlink(folder / "stdout"));
}

// The number of calls of a write that nothing disturbs, and then each of them failing.
TEST(File, AWriteThatFailsAnywhereLeavesTheOldContentOrTheNew) {
  const TemporaryDirectory folder;
  const fs::path file = folder / "file";
  const std::string old_content(5000, 'o'), new_content(9000, 'n');
  const size_t calls = CountSystemCalls([&] { WriteFileAtomically(file, new_content); });
  EXPECT_EQ(calls, 6u);  // open, write, sync, rename; open and sync of the folder
  for (size_t nth = 0; nth < calls; ++nth) {
    for (const int error : {EIO, ENOSPC}) {
      WriteFileAtomically(file, old_content);
      EXPECT_THROW(
          {
            const SystemFaults faults(FailNth(nth, error));
            WriteFileAtomically(file, new_content);
          },
          Error)
          << nth;
      const std::string content = ReadFile(file);
      EXPECT_TRUE(content == old_content || content == new_content) << nth;
      EXPECT_EQ(FilesIn(folder.path()), 1u) << nth;
    }
  }
}

TEST(File, InterruptedAndShortCallsGoOn) {
  const TemporaryDirectory folder;
  std::string content;
  for (int i = 0; i < 3000; ++i) content += static_cast<char>(i % 251);
  const auto write_and_read = [&] {
    WriteFileAtomically(folder / "file", content);
    AppendToFile(folder / "log", content);
    EXPECT_EQ(ReadFile(folder / "file"), content);
    EXPECT_EQ(ReadFile(folder / "log"), content);
    fs::remove(folder / "log");
  };
  {
    const SystemFaults faults(InterruptEveryCall());
    write_and_read();
  }
  const SystemFaults faults(TransferAtMost(7));
  write_and_read();
}

TEST(File, AFailedReadIsNoShortFile) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "file", "content");
  for (const size_t nth : {0u, 1u, 2u}) {  // open, read, read of the end
    const SystemFaults faults(FailNth(nth, EIO));
    EXPECT_THAT([&] { ReadFile(folder / "file"); },
                ThrowsMessage<Error>(HasSubstr("Input/output error")));
  }
}

}  // namespace
}  // namespace kvtune
