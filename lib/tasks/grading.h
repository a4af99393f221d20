// Whether what a model wrote is the right answer, by the rules of the task's protocol.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/tasks/task.h"

namespace kvtune {

// What lm-evaluation-harness puts in place of an answer that was not found.
inline constexpr std::string_view kInvalidAnswer = "[invalid]";

// The verdict on one item.
struct Grade {
  std::string text;       // what was generated, up to the first stop
  std::string extracted;  // by the strict rule; kInvalidAnswer where nothing was found
  std::string flexible_extracted;
  double strict = 0;  // 0 or 1; kContains with several references: the share of them in the text
  double flexible = 0;

  bool correct() const { return strict == 1; }
  bool is_invalid() const { return extracted == kInvalidAnswer; }
};

// Returns the text in front of the first of each stop, the stops taken one after another.
std::string_view CutAtStops(std::string_view text, std::span<const std::string> stops);

// What the harness compares in place of a number of GSM8K: without ",", "$", everything up to
// "#### " and a full stop at the end, in small letters.
std::string NormalizedNumber(std::string_view answer);

class Grader {
 public:
  // Compiles the task's expressions. Throws Error, which names the task, for one that does not
  // compile, and for an item of kVllmCi whose answer has no number. REQUIRES: the task generates
  // text, and outlives the grader.
  explicit Grader(const Task& task);
  explicit Grader(Task&&) = delete;
  ~Grader();
  Grader(const Grader&) = delete;
  Grader& operator=(const Grader&) = delete;

  // Judges what was generated for an item. `more_stops` are stops beside those of the task: the
  // tokenizer's end-of-sequence token. Throws Error where an expression needs more than the bounded
  // number of steps. Thread-safe.
  Grade Judge(const TaskItem& item, std::string_view generation,
              std::span<const std::string> more_stops = {}) const;

 private:
  struct Rules;

  // The number of an answer of kVllmCi; nullopt where it has none.
  std::optional<std::string> LabelOf(const TaskItem& item) const;
  void RequireLabels() const;

  const Task& task_;
  std::unique_ptr<Rules> rules_;
};

// The verdict on an item whose choices were scored. The strict verdict (lm-evaluation-harness: acc)
// takes the choice of the highest summed log-likelihood in nats, the flexible one (acc_norm) that
// of the highest per character. Ties go to the first. The texts are the two choices. REQUIRES: as
// many numbers as choices, and no choice is empty.
Grade JudgeChoices(const TaskItem& item, std::span<const double> log_likelihoods);

}  // namespace kvtune
