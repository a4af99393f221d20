#include "lib/base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "lib/base/log.h"
#include "lib/base/progress_work.h"

namespace kvtune {
namespace {

constexpr double kTerminalSeconds = 0.1;  // a terminal is redrawn at most ten times a second
constexpr double kPipeSeconds = 10.0;     // a log file needs far fewer lines

double Seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// Progress that cannot be written, as on a full disk, is lost and stops nothing.
void Show(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace

std::string FormatDuration(double seconds) {
  const auto whole = static_cast<int64_t>(std::max(0.0, seconds) + 0.5);
  if (whole >= 3600)
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

Progress::Progress(std::string stage, int64_t total, std::string unit, double work_per_step)
    : stage_(std::move(stage)),
      unit_(std::move(unit)),
      total_(total),
      work_per_step_(work_per_step),
      terminal_(::isatty(STDERR_FILENO) == 1),
      visible_(CurrentLogLevel() != LogLevel::kQuiet && !RunProgress::IsShown()),
      start_(Clock::now()),
      last_draw_(start_),
      last_work_(start_) {
  if (visible_ && terminal_) Draw(start_);
}

Progress::~Progress() {
  if (visible_ && terminal_ && !finished_) Show("\n");
}

void Progress::Advance(int64_t count) {
  done_ += count;
  const Clock::time_point now = Clock::now();
  if (work_per_step_ > 0) {
    ReportWork(static_cast<double>(count) * work_per_step_, Seconds(now - last_work_));
    last_work_ = now;
  }
  if (!visible_) return;
  if (Seconds(now - last_draw_) >= (terminal_ ? kTerminalSeconds : kPipeSeconds)) Draw(now);
}

std::string Progress::State(double seconds) const {
  std::string text = total_ > 0 ? fmt::format("{}  {}/{} {}  {} %", stage_, done_, total_, unit_,
                                              100 * done_ / total_)
                                : fmt::format("{}  {} {}", stage_, done_, unit_);
  if (done_ > 0 && seconds > 0.5) {
    const double rate = static_cast<double>(done_) / seconds;
    text += fmt::format("  {:.3g} {}/s", rate, unit_);
    if (total_ > done_) {
      text += fmt::format("  {} left", FormatDuration(static_cast<double>(total_ - done_) / rate));
    }
  }
  return text;
}

void Progress::Draw(Clock::time_point now) {
  last_draw_ = now;
  const std::string text = State(Seconds(now - start_));
  if (terminal_) {
    // Spaces behind the text wipe what a longer state left behind.
    Show(fmt::format("\r{:<{}}", text, drawn_width_));
    drawn_width_ = text.size();
  } else {
    Show(fmt::format("{}\n", text));
  }
}

void Progress::Finish() {
  if (finished_) return;
  finished_ = true;
  if (!visible_) return;
  const std::string text =
      fmt::format("{}: {} {} in {:.1f} s", stage_, done_, unit_, Seconds(Clock::now() - start_));
  if (terminal_) {
    Show(fmt::format("\r{:<{}}\n", text, drawn_width_));
  } else {
    Show(fmt::format("{}\n", text));
  }
}

void Progress::Dismiss() {
  if (finished_) return;
  finished_ = true;
  if (!visible_ || !terminal_) return;
  Show(fmt::format("\r{:<{}}\r", "", drawn_width_));
}

}  // namespace kvtune
