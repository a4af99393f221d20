// The file of --samples: what a model wrote for every item under every plan, one a line, in the
// words of lm-evaluation-harness where it has some.
//
// A line is written as soon as its sequence ends, so an interrupted evaluation keeps all that was
// generated: the same command finds the lines of its own evaluation and goes on. In the end the
// file is written once more, in an order that does not depend on which sequence ended first.
//
// A line is {"item", "plan", "spec", "prompt", "generation", "extracted", "flexible_extracted",
// "answer", "correct", "flexible_correct", "tokens", "evaluation", "checksum"}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/core/precision_plan.h"

namespace kvtune {

// What one sequence came to, before it is judged.
struct GeneratedText {
  std::string text;
  int64_t tokens = 0;
};

// A line of the file.
struct SampleLine {
  size_t item = 0;
  std::string plan = {};  // its name
  std::string spec = {};
  std::string prompt = {};
  GeneratedText generated = {};
  std::string extracted = {};
  std::string flexible_extracted = {};
  std::string answer = {};
  double correct = 0;
  double flexible_correct = 0;
};

class SampleLog {
 public:
  // Reads the lines of this evaluation that the file holds; `evaluation` is a hash of everything
  // that they depend on but plan and item. Other content is replaced, as --samples names a file to
  // be written; where it names a link, that is the file that the link leads to. Throws Error where
  // the file cannot be written.
  SampleLog(std::filesystem::path path, std::string evaluation);

  // What the file held for a plan (by its spec) and an item when it was opened, or null.
  const GeneratedText* Find(const std::string& spec, size_t item) const;
  size_t found() const { return known_.size(); }

  // Adds a line in one write, which a crash can tear but not mix with another. Throws Error.
  void Append(const SampleLine& line);
  // Replaces the file by these lines. Throws Error.
  void Finish(const std::vector<SampleLine>& lines);
  // Writes the lines that the file has anew, in the order of specs and items, so that the file does
  // not tell which sequence ended first. Throws Error.
  void Sort();

 private:
  using Key = std::pair<std::string, size_t>;  // a plan's spec, and the item
  // An intact line of this evaluation.
  struct OwnLine {
    std::string_view text;
    Key key;
    GeneratedText generated;
  };
  std::vector<OwnLine> OwnLines(std::string_view content) const;
  std::string TextOf(const SampleLine& line) const;

  std::filesystem::path path_;
  std::string evaluation_;
  std::map<Key, GeneratedText> known_;
};

}  // namespace kvtune
