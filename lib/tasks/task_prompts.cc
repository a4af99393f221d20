#include "lib/tasks/task_prompts.h"

#include <numeric>

#include "lib/tasks/python_random.h"

namespace kvtune {
namespace {

constexpr uint32_t kFewshotSeed = 1234;  // lm-evaluation-harness, --seed's fourth number

// What stands in front of a question and of its answer.
struct Labels {
  std::string_view question;
  std::string_view answer;
};

Labels LabelsOf(Protocol protocol) {
  return protocol == Protocol::kGsm8kCot ? Labels{"Q: ", "\nA:"}
                                         : Labels{"Question: ", "\nAnswer:"};
}

std::string Asked(Protocol protocol, const std::string& question) {
  const Labels labels = LabelsOf(protocol);
  std::string text(labels.question);
  text += question;
  return text += labels.answer;
}

// Whether shots are given as one text.
bool HasShotText(const Task& task) { return task.fewshot > 0 && !task.shot_text.empty(); }

}  // namespace

std::vector<std::vector<size_t>> DrawShots(const Task& task) {
  std::vector<std::vector<size_t>> drawn(task.items.size());
  if (!HasShots(task.protocol) || task.fewshot == 0 || HasShotText(task)) return drawn;
  const auto count = static_cast<size_t>(task.fewshot);
  PythonRandom random(kFewshotSeed);
  for (std::vector<size_t>& shots : drawn) {
    if (task.protocol == Protocol::kGsm8k) {
      shots = random.Sample(task.shots.size(), count);
    } else {
      shots.resize(count);
      std::iota(shots.begin(), shots.end(), size_t{0});
    }
  }
  return drawn;
}

std::vector<std::string> TaskPrompts(const Task& task) {
  const std::vector<std::vector<size_t>> drawn = DrawShots(task);
  std::vector<std::string> prompts;
  for (size_t i = 0; i < task.items.size(); ++i) {
    if (!HasShots(task.protocol)) {
      prompts.push_back(task.items[i].prompt);
      continue;
    }
    std::string prompt = HasShotText(task) ? task.shot_text : "";
    for (const size_t shot : drawn[i]) {
      prompt += Asked(task.protocol, task.shots[shot].question);
      prompt += " " + task.shots[shot].answer + "\n\n";
    }
    prompts.push_back(prompt + Asked(task.protocol, task.items[i].prompt));
  }
  return prompts;
}

std::vector<std::vector<ChatTurn>> TaskChats(const Task& task) {
  const std::vector<std::vector<size_t>> drawn = DrawShots(task);
  std::vector<std::vector<ChatTurn>> chats;
  for (size_t i = 0; i < task.items.size(); ++i) {
    std::vector<ChatTurn>& chat = chats.emplace_back();
    for (const size_t shot : drawn[i]) {
      chat.push_back({"user", Asked(task.protocol, task.shots[shot].question)});
      chat.push_back({"assistant", task.shots[shot].answer});
    }
    const std::string& question = task.items[i].prompt;
    chat.push_back({"user", HasShots(task.protocol) ? Asked(task.protocol, question) : question});
  }
  return chats;
}

}  // namespace kvtune
