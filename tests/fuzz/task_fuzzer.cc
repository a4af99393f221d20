// Task files and files of items, with what is judged by them.
#include <filesystem>

#include "lib/tasks/grading.h"
#include "lib/tasks/task_file.h"
#include "lib/tasks/task_prompts.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  // A row is parsed on its own after the whole, prompts repeat their shots, and drawing them needs
  // a generator's state.
  constexpr int64_t kBytes = 4 * fuzz::kBytesPerByte;
  return fuzz::Try(
      size,
      [&] {
        std::string_view content = fuzz::TextOf(data, size);
        const bool zero_shots = fuzz::TakeChoice(content, 2) == 1;
        TaskOverrides overrides;
        if (zero_shots) overrides.fewshot = 0;
        const Task task = ParseTask(content, "no-such-folder/task.json", overrides);
        fuzz::Require(!task.items.empty(), "a task has items");
        fuzz::Require(TaskPrompts(task).size() == task.items.size(), "every item has a prompt");
        if (task.is_multiple_choice()) return;
        const Grade grade = Grader(task).Judge(task.items[0], task.items[0].answer);
        fuzz::Require(grade.strict >= 0 && grade.strict <= 1, "a verdict is a share");
      },
      kBytes);
}
