#include "lib/base/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/support/system_faults.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

std::string TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Writes into the file that is there, as `cp` over it would; and some time later, because times of
// files are as coarse as the clock of the system.
void Overwrite(const fs::path& path, const std::string& content) {
  const auto later = fs::last_write_time(path) + std::chrono::seconds(2);
  std::ofstream(path, std::ios::binary | std::ios::in) << content;
  fs::last_write_time(path, later);
}

TEST(MappedFile, ShowsTheWholeFile) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "file", "bytes");
  const MappedFile file(directory / "file");
  EXPECT_EQ(TextOf(file), "bytes");
  EXPECT_EQ(file.path(), directory / "file");
  EXPECT_NO_THROW(file.RequireUnchanged());
}

TEST(MappedFile, OfNothingIsEmpty) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "empty", "");
  const MappedFile file(directory / "empty");
  EXPECT_TRUE(file.bytes().empty());
  EXPECT_NO_THROW(file.RequireUnchanged());
}

TEST(MappedFile, RefusesWhatIsNoRegularFile) {
  const TemporaryDirectory directory;
  EXPECT_THAT([] { MappedFile("/nonexistent/file"); },
              ThrowsMessage<Error>(StrEq("opening /nonexistent/file: No such file or directory")));
  EXPECT_THAT([&] { MappedFile{directory.path()}; },
              ThrowsMessage<Error>(HasSubstr("found a folder, expected a regular file")));
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  EXPECT_THAT([&] { MappedFile(directory / "fifo"); },
              ThrowsMessage<Error>(HasSubstr("found a pipe, expected a regular file")));
}

TEST(MappedFile, DroppedPagesReadTheSame) {
  const TemporaryDirectory directory;
  const std::string content(100'000, 'x');
  WriteFileAtomically(directory / "map", content);
  const MappedFile file(directory / "map");
  DropPages(file.bytes().subspan(5000, 50'000));
  DropPages({});
  EXPECT_EQ(TextOf(file), content);
}

TEST(MappedFile, AFileThatShrinksReadsAsZerosAndIsTold) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "file", std::string(50'000, 'x'));
  const MappedFile file(directory / "file");
  EXPECT_EQ(file.bytes()[49'999], std::byte{'x'});
  fs::resize_file(directory / "file", 4096);
  DropPages(file.bytes());
  EXPECT_EQ(file.bytes()[0], std::byte{'x'});
  EXPECT_EQ(file.bytes()[49'999], std::byte{0});  // the system's signal would end the process here
  EXPECT_EQ(file.bytes()[20'000], std::byte{0});
  EXPECT_THAT([&] { file.RequireUnchanged(); },
              ThrowsMessage<Error>(StrEq("reading " + (directory / "file").string() +
                                         ": found 4096 bytes, 50000 when it was opened, expected a "
                                         "file that nothing writes while it is read")));
  // It stays told, also when the file is as long again: zeros were read.
  fs::resize_file(directory / "file", 50'000);
  EXPECT_THROW(file.RequireUnchanged(), Error);
}

TEST(MappedFile, ALostPageIsToldWhateverTheTimesSay) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "file", std::string(50'000, 'x'));
  const auto written = fs::last_write_time(directory / "file");
  const MappedFile file(directory / "file");
  fs::resize_file(directory / "file", 0);
  EXPECT_EQ(file.bytes()[10'000], std::byte{0});
  fs::resize_file(directory / "file", 50'000);
  fs::last_write_time(directory / "file", written);
  EXPECT_THAT([&] { file.RequireUnchanged(); },
              ThrowsMessage<Error>(HasSubstr("found pages that could not be read")));
}

TEST(MappedFile, AFileThatIsWrittenIsTold) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "file", "content");
  const MappedFile file(directory / "file");
  Overwrite(directory / "file", "CONTENT");
  EXPECT_THAT([&] { file.RequireUnchanged(); },
              ThrowsMessage<Error>(HasSubstr("found that it was written since it was opened")));
}

// A file that takes the name keeps the old one's content apart.
TEST(MappedFile, AFileThatIsReplacedIsStillTheOldOne) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "file", "old");
  const MappedFile file(directory / "file");
  WriteFileAtomically(directory / "file", "new and longer");
  EXPECT_EQ(TextOf(file), "old");
  EXPECT_NO_THROW(file.RequireUnchanged());
}

TEST(MappedFile, AFailedMapIsAnError) {
  const TemporaryDirectory directory;
  WriteFileAtomically(directory / "file", "content");
  const SystemFaults faults(FailNth(1, ENOMEM));
  EXPECT_THAT([&] { MappedFile(directory / "file"); },
              ThrowsMessage<Error>(
                  StrEq("mapping " + (directory / "file").string() + ": Cannot allocate memory")));
}

}  // namespace
}  // namespace kvtune
