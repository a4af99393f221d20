// Shows the progress of a long stage on stderr: as one line that redraws itself on a terminal, and
// as plain lines in a pipe.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kvtune {

// Shows "scoring plans  120/400 plans  30 %  4.1 plans/s  1:08 left". It is silent under
// LogLevel::kQuiet.
class Progress {
 public:
  // `unit` is a plural noun ("plans", "prompts"). `total` is 0 when it is not known.
  Progress(std::string stage, int64_t total, std::string unit);
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
  int64_t done_ = 0;
  bool terminal_;
  bool visible_;
  bool finished_ = false;
  size_t drawn_width_ = 0;
  Clock::time_point start_;
  Clock::time_point last_draw_;
};

// Returns "0:42", "12:05" or "1:02:33", for example.
std::string FormatDuration(double seconds);

}  // namespace kvtune
