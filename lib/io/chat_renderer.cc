#include "lib/io/chat_renderer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "lib/base/data_folder.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

extern char** environ;

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSystemPython = "/usr/bin/python3";
constexpr int kNoPackage = 3;  // the script's status where its interpreter lacks jinja2
constexpr std::string_view kMessageKeys[] = {"messages", "conversations", "conversation"};

bool IsMessageList(const Json& json) {
  if (!json.is_array() || json.empty()) return false;
  for (const Json& message : json) {
    const bool has_speaker =
        message.is_object() &&
        (message.contains("role") || (message.contains("from") && message.contains("value")));
    if (!has_speaker) return false;
  }
  return true;
}

std::string ScriptFile() {
  std::string script = ChatRenderer();
  if (fs::exists(script)) return script;
  throw Error(
      fmt::format("rendering chats: found no {}, expected it beside the program's data", script));
}

[[noreturn]] void FailForSystem(std::string_view doing) {
  throw Error(fmt::format("rendering chats: {}: {}", doing, std::strerror(errno)));
}

class PipeEnd {
 public:
  explicit PipeEnd(int descriptor) : descriptor_(descriptor) {}
  ~PipeEnd() { Close(); }
  PipeEnd(const PipeEnd&) = delete;
  PipeEnd& operator=(const PipeEnd&) = delete;

  int get() const { return descriptor_; }
  void Close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }

 private:
  int descriptor_;
};

void WriteAll(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno != EINTR) FailForSystem("writing to a temporary file");
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
}

std::string ReadAll(int descriptor) {
  std::string text;
  std::array<char, 1 << 16> block;
  for (;;) {
    const ssize_t count = ::read(descriptor, block.data(), block.size());
    if (count < 0 && errno != EINTR) FailForSystem("reading what Python answers");
    if (count == 0) return text;
    if (count > 0) text.append(block.data(), static_cast<size_t>(count));
  }
}

struct Answers {
  std::string text;
  int status = 0;
};

// Runs the command with `input`, which is in a file so that neither side waits for the other.
Answers Run(const std::vector<std::string>& command, std::string_view input) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), &std::fclose);
  if (!file) FailForSystem("making a temporary file");
  WriteAll(::fileno(file.get()), input);
  if (::lseek(::fileno(file.get()), 0, SEEK_SET) != 0) FailForSystem("reading a temporary file");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) FailForSystem("making a pipe");
  PipeEnd reading(ends[0]), writing(ends[1]);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(file.get()), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failure =
      ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) {
    throw Error(
        fmt::format("rendering chats: found no {} ({}), expected Python with jinja2 "
                    "(apt install python3-jinja2; KVTUNE_PYTHON names another one)",
                    command[0], std::strerror(failure)));
  }
  writing.Close();
  Answers answers{.text = ReadAll(reading.get())};
  while (::waitpid(child, &answers.status, 0) < 0 && errno == EINTR) {
  }
  return answers;
}

// The interpreters to try. A python3 in front of the system's, of pyenv or conda, does not see the
// system's packages.
std::vector<std::string> Interpreters() {
  const char* chosen = std::getenv("KVTUNE_PYTHON");
  if (chosen != nullptr && *chosen != '\0') return {chosen};
  std::vector<std::string> interpreters = {"python3"};
  if (fs::exists(kSystemPython)) interpreters.emplace_back(kSystemPython);
  return interpreters;
}

// The answers of the first interpreter that has what the script needs.
Answers RunScript(const fs::path& model_directory, std::string_view input) {
  const std::string script = ScriptFile();
  Answers answers;
  for (const std::string& python : Interpreters()) {
    answers = Run({python, "-B", script, "--lines", "--model", model_directory.string()}, input);
    if (!WIFEXITED(answers.status) || WEXITSTATUS(answers.status) != kNoPackage) break;
  }
  return answers;
}

std::vector<Json> Lines(const std::string& text) {
  std::vector<Json> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(ParseJson(text.substr(begin, end - begin), "an answer of render_chat.py"));
    begin = end + 1;
  }
  return lines;
}

}  // namespace

bool IsChat(const Json& json) {
  if (json.is_array()) return IsMessageList(json);
  if (!json.is_object()) return false;
  if (json.contains("body") && json["body"].is_object() && json["body"].contains("messages")) {
    return true;
  }
  for (const std::string_view key : kMessageKeys) {
    if (json.contains(key)) return true;
  }
  return false;
}

std::vector<std::string> RenderChats(std::span<const Chat> chats, const fs::path& model_directory) {
  std::string input;
  for (const Chat& chat : chats) input += chat.record + "\n";
  const Answers answers = RunScript(model_directory, input);
  const std::vector<Json> lines = Lines(answers.text);
  if (answers.status != 0 || lines.size() != chats.size()) {
    const bool has_reason = lines.size() == 1 && lines[0].contains("error");
    throw Error(fmt::format(
        "rendering the chats of {}: {}", chats.front().where,
        has_reason ? lines[0]["error"].get<std::string>()
                   : fmt::format("found that render_chat.py ended with status {} after {} of {} "
                                 "answers, expected all",
                                 answers.status, lines.size(), chats.size())));
  }
  std::vector<std::string> texts;
  bool has_date = false;
  for (size_t i = 0; i < chats.size(); ++i) {
    if (lines[i].contains("error")) {
      throw Error(fmt::format("{}: rendering the chat: {}", chats[i].where,
                              lines[i]["error"].get<std::string>()));
    }
    has_date = has_date || lines[i].contains("has_date");
    texts.push_back(lines[i]["text"].get<std::string>());
  }
  if (has_date) {
    LogWarning(
        fmt::format("the chat template of {} puts today's date into the prompts; a gate needs them "
                    "rendered once (scripts/render_chat.py) or SOURCE_DATE_EPOCH set",
                    model_directory.string()));
  }
  return texts;
}

}  // namespace kvtune
