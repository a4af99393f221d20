#include "lib/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/progress.h"
#include "lib/base/progress_work.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;

// While it lives, stderr is a terminal of 80 columns.
class TerminalOnStderr {
 public:
  TerminalOnStderr() : stderr_(::dup(STDERR_FILENO)) {
    winsize size = {};
    size.ws_row = 24;
    size.ws_col = 80;
    int terminal = -1;
    if (::openpty(&screen_, &terminal, nullptr, nullptr, &size) != 0) return;
    ::dup2(terminal, STDERR_FILENO);
    ::close(terminal);
    reader_ = std::thread([this] {
      char block[4096];
      // The screen reports an error when nobody holds the terminal any more.
      for (ssize_t count; (count = ::read(screen_, block, sizeof(block))) > 0;) {
        const std::lock_guard lock(mutex_);
        text_.append(block, static_cast<size_t>(count));
        changed_.notify_all();
      }
    });
  }
  ~TerminalOnStderr() { TakeText(); }

  bool is_open() const { return screen_ >= 0; }
  void WaitFor(const std::string& part) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return text_.find(part) != std::string::npos; });
  }
  // Gives stderr back, and returns what was written.
  std::string TakeText() {
    if (stderr_ >= 0) {
      ::dup2(stderr_, STDERR_FILENO);
      ::close(stderr_);
      stderr_ = -1;
    }
    if (reader_.joinable()) {
      reader_.join();
      ::close(screen_);
    }
    return text_;
  }

 private:
  int stderr_;
  int screen_ = -1;
  std::thread reader_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;  // guarded by mutex_ while the reader runs
};

std::string Message(int thread, int i) {
  return "message " + std::to_string(i) + " of thread " + std::to_string(thread) + ".";
}

TEST(Log, MessagesOfManyThreadsStayWholeAboveTheLineOfTheCommand) {
  constexpr int kThreads = 4, kMessages = 200;
  ::setenv("TERM", "xterm", 1);
  TerminalOnStderr terminal;
  ASSERT_TRUE(terminal.is_open());
  double done = 0;
  {
    RunProgress run("scoring");
    terminal.WaitFor(" scoring");
    RunProgress::SetWorkLeft(kThreads * kMessages);
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([thread] {
        for (int i = 0; i < kMessages; ++i) {
          LogWarning(Message(thread, i));
          ReportWork(1, 1e-3);
          RunProgress::SetStage("stage " + std::to_string(i));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    done = RunProgress::WorkDone();
  }
  const std::string text = terminal.TakeText();
  EXPECT_EQ(done, kThreads * kMessages);
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < kMessages; ++i) {
      EXPECT_THAT(text, HasSubstr("warning: " + Message(thread, i)));
    }
  }
  const std::string wipe = "\r\033[K";
  EXPECT_THAT(text, HasSubstr(wipe));
  // Every message begins a line: behind the end of another one, or where the line was wiped.
  for (size_t at = text.find("kvtune: "); at != std::string::npos;
       at = text.find("kvtune: ", at + 1)) {
    ASSERT_GT(at, 0U);
    EXPECT_TRUE(text[at - 1] == '\n' || text.compare(at - wipe.size(), wipe.size(), wipe) == 0)
        << text.substr(at < 40 ? 0 : at - 40, 60);
  }
}

TEST(Log, AMessageIsOneLine) {
  ::testing::internal::CaptureStderr();
  LogError("found\ntwo\r\nlines");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("error: found two  lines"));
}

}  // namespace
}  // namespace kvtune
