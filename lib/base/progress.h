// Shows on stderr how far a command has come: as one line that redraws itself on a terminal, and as
// plain lines in a pipe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kvtune {

// The progress of a long stage: "scoring plans  120/400 plans  30 %  4.1 plans/s  1:08 left". It is
// silent under LogLevel::kQuiet. While a RunProgress draws the line of the whole command, a stage
// only tells it what is done.
class Progress {
 public:
  // `unit` is a plural noun ("plans", "prompts"). `total` is 0 when it is not known. One step is
  // `work_per_step` units of the work that RunProgress counts.
  Progress(std::string stage, int64_t total, std::string unit, double work_per_step = 0);
  // Ends the line on a terminal, so that the last state stays readable when an exception passes.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(int64_t count = 1);
  // Prints the closing line with the time that the stage took. Only the first call does.
  void Finish();
  // Wipes the line instead. This is for a short stage whose caller prints a line of its own.
  void Dismiss();

 private:
  using Clock = std::chrono::steady_clock;
  void Draw(Clock::time_point now);
  std::string State(double seconds) const;

  std::string stage_;
  std::string unit_;
  int64_t total_;
  double work_per_step_;
  int64_t done_ = 0;
  bool terminal_;
  bool visible_;
  bool finished_ = false;
  size_t drawn_width_ = 0;
  Clock::time_point start_;
  Clock::time_point last_draw_;
  Clock::time_point last_work_;
};

// One line for a whole command on a terminal: bar, stage, time so far and time left in all. A
// thread redraws it several times a second, so that it never looks frozen; messages of
// lib/base/log.h appear above it. In a pipe it shows nothing, and stages print lines of their own.
// There is at most one at a time; the functions below reach it and do nothing without one.
class RunProgress {
 public:
  explicit RunProgress(std::string stage);
  // Wipes the line.
  ~RunProgress();
  RunProgress(const RunProgress&) = delete;
  RunProgress& operator=(const RunProgress&) = delete;

  // Whether a line is drawn, so that less need be printed.
  static bool IsShown();
  // What is being done now.
  static void SetStage(std::string stage);
  // How much work is left, in any unit, as far as is known now. Work that Progress reports is taken
  // off it.
  static void SetWorkLeft(double work);
  // How much work was done, and the seconds since work was first counted.
  static double WorkDone();
};

// The line at a moment. `share` of the work is done, or a negative number where it is not known.
std::string RunProgressLine(const std::string& stage, double share, double elapsed_seconds,
                            double seconds_left, size_t width, bool unicode);

// Returns "0:42", "12:05" or "1:02:33", for example.
std::string FormatDuration(double seconds);

// Returns "40 s", "12 min" or "3 h 20 min": a time that is only roughly known.
std::string RoughDuration(double seconds);

}  // namespace kvtune
