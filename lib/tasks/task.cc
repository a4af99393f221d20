#include "lib/tasks/task.h"

namespace kvtune {
namespace {

const Extraction kFlexibleNumber{R"((-?[$0-9.,]{2,})|(-?[0-9]+))", WhichMatch::kLast};

}  // namespace

Task TaskOfProtocol(Protocol protocol) {
  Task task;
  task.protocol = protocol;
  switch (protocol) {
    case Protocol::kGsm8k:
      task.fewshot = 5;
      task.stops = {"Question:", "</s>", "<|im_end|>"};
      task.strict = Extraction{R"(#### (\-?[0-9\.\,]+))", WhichMatch::kFirst};
      task.flexible = kFlexibleNumber;
      break;
    case Protocol::kGsm8kCot:
      task.fewshot = 8;
      task.stops = {"Q:", "</s>", "<|im_end|>"};
      task.strict = Extraction{R"(The answer is (\-?[0-9\.\,]+).)", WhichMatch::kFirst};
      task.flexible = kFlexibleNumber;
      break;
    case Protocol::kVllmCi:
      task.fewshot = 5;
      task.stops = {"Question", "Assistant:", "<|separator|>"};
      task.strict = task.flexible = Extraction{R"(\d+)", WhichMatch::kLast};
      break;
    case Protocol::kContains:
      task.max_new_tokens = 128;  // RULER, for its retrieval tasks
      break;
    case Protocol::kMultipleChoice:
    case Protocol::kCustom:
      break;
  }
  return task;
}

}  // namespace kvtune
