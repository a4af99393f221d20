// The line of a whole command.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "lib/base/bar.h"
#include "lib/base/log.h"
#include "lib/base/progress.h"
#include "lib/base/progress_work.h"
#include "lib/base/status_line.h"

namespace kvtune {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// What is known of the command's work, and the thread that draws it.
class Line {
 public:
  Line(std::string stage, bool is_shown) : stage_(std::move(stage)), is_shown_(is_shown) {
    if (is_shown_) thread_ = std::thread([this] { DrawOverAndOver(); });
  }
  ~Line() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
    if (is_shown_) WipeStatusLine();
  }

  bool is_shown() const { return is_shown_; }
  void SetStage(std::string stage) {
    const std::lock_guard lock(mutex_);
    stage_ = std::move(stage);
  }
  void SetWorkLeft(double work) {
    const std::lock_guard lock(mutex_);
    work_left_ = work;
  }
  void AddWork(double work, double seconds) {
    const std::lock_guard lock(mutex_);
    done_ += work;
    busy_seconds_ += seconds;
    work_left_ = std::max(0.0, work_left_ - work);
  }
  double done() {
    const std::lock_guard lock(mutex_);
    return done_;
  }

 private:
  void DrawOverAndOver() {
    constexpr auto kPause = std::chrono::milliseconds(200);
    std::unique_lock lock(mutex_);
    while (!ends_) {
      const double elapsed = Seconds(Clock::now() - start_);
      const bool knows = work_left_ > 0 && done_ > 0;
      const double share = knows ? done_ / (done_ + work_left_) : -1;
      const double left = knows ? work_left_ * busy_seconds_ / done_ : -1;
      DrawStatusLine(
          RunProgressLine(stage_, share, elapsed, left, StatusLineWidth() - 1, ShowsUnicode()));
      wake_.wait_for(lock, kPause, [this] { return ends_; });
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::string stage_;
  double done_ = 0;
  double busy_seconds_ = 0;
  double work_left_ = 0;
  bool ends_ = false;
  const bool is_shown_;
  const Clock::time_point start_ = Clock::now();
  std::thread thread_;
};

std::unique_ptr<Line>& TheLine() {
  static std::unique_ptr<Line> line;
  return line;
}

}  // namespace

void ReportWork(double work, double seconds) {
  if (TheLine()) TheLine()->AddWork(work, seconds);
}

RunProgress::RunProgress(std::string stage) {
  const char* kind = std::getenv("TERM");
  const bool can_redraw =
      ::isatty(STDERR_FILENO) == 1 && (!kind || std::string_view(kind) != "dumb");
  const bool is_shown = can_redraw && CurrentLogLevel() != LogLevel::kQuiet;
  TheLine() = std::make_unique<Line>(std::move(stage), is_shown);
}

RunProgress::~RunProgress() { TheLine().reset(); }

bool RunProgress::IsShown() { return TheLine() && TheLine()->is_shown(); }

void RunProgress::SetStage(std::string stage) {
  if (TheLine()) TheLine()->SetStage(std::move(stage));
}

void RunProgress::SetWorkLeft(double work) {
  if (TheLine()) TheLine()->SetWorkLeft(work);
}

double RunProgress::WorkDone() { return TheLine() ? TheLine()->done() : 0; }

std::string RunProgressLine(const std::string& stage, double share, double elapsed_seconds,
                            double seconds_left, size_t width, bool unicode) {
  constexpr size_t kBar = 20;
  std::string line = ProgressBar(std::max(share, 0.0), kBar, unicode);
  line += share < 0 ? "      " : fmt::format(" {:3.0f} % ", 100 * share);
  std::string times = fmt::format("  {}", FormatDuration(elapsed_seconds));
  if (seconds_left >= 0) times += fmt::format(", {} left", FormatDuration(seconds_left));
  // The bar's columns and not its bytes count.
  const size_t taken = kBar + 8 + times.size();
  const size_t room = width > taken ? width - taken : 0;
  return line + " " + stage.substr(0, room) + times;
}

std::string RoughDuration(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", std::max(1.0, seconds));
  const auto minutes = static_cast<int64_t>(seconds / 60 + 0.5);
  if (minutes < 120) return fmt::format("{} min", minutes);
  if (minutes < 24 * 60) return fmt::format("{} h {} min", minutes / 60, minutes % 60 / 10 * 10);
  return fmt::format("{:.1f} days", static_cast<double>(minutes) / (24 * 60));
}

}  // namespace kvtune
