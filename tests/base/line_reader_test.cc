#include "lib/base/line_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/support/system_faults.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

std::vector<std::string> LinesOf(const std::string& content) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "file", content);
  LineReader reader(OpenForReading(folder / "file", "reading"), "file");
  std::vector<std::string> lines;
  for (std::string line; reader.Next(line);) lines.push_back(line);
  return lines;
}

TEST(LineReader, GivesEveryLineButAnEmptyLastOne) {
  EXPECT_THAT(LinesOf(""), IsEmpty());
  EXPECT_THAT(LinesOf("a\n\nbc\n"), ElementsAre("a", "", "bc"));
  EXPECT_THAT(LinesOf("a\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(LinesOf("\n"), ElementsAre(""));
  const std::string null("x\0y", 3);
  EXPECT_THAT(LinesOf(null + "\n"), ElementsAre(null));
}

TEST(LineReader, PiecesOfAnySizeGiveTheSameLines) {
  std::string content;
  std::vector<std::string> expected;
  for (size_t i = 0; i < 400; ++i) {
    expected.emplace_back(i % 37, static_cast<char>('a' + i % 26));
    content += expected.back() + "\n";
  }
  EXPECT_EQ(LinesOf(content), expected);
  for (const size_t bytes : {1u, 7u, 100u}) {
    const SystemFaults faults(TransferAtMost(bytes));
    EXPECT_EQ(LinesOf(content), expected);
  }
  const SystemFaults faults(InterruptEveryCall());
  EXPECT_EQ(LinesOf(content), expected);
}

TEST(LineReader, ALineWithoutAnEndIsAnError) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "file", std::string(300'000, 'x'));
  LineReader reader(OpenForReading(folder / "file", "reading"), "file");
  std::string line;
  EXPECT_THAT([&] { reader.Next(line, 1000); },
              ThrowsMessage<Error>(
                  StrEq("reading file: found a line of more than 1000 bytes, expected text")));
}

TEST(LineReader, AFailedReadIsNoEnd) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "file", "a\n");
  LineReader reader(OpenForReading(folder / "file", "reading"), "file");
  const SystemFaults faults(FailNth(0, EIO));
  std::string line;
  EXPECT_THAT([&] { reader.Next(line); },
              ThrowsMessage<Error>(HasSubstr("reading file: Input/output error")));
}

}  // namespace
}  // namespace kvtune
