#include "lib/base/own_program.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "lib/base/error.h"

extern char** environ;

namespace kvtune {
namespace {

constexpr int kNotStarted = 127;  // the exit code of shells for a program that is not there

// The environment of this process, with these variables in place of its own.
std::vector<std::string> EnvironmentWith(const std::vector<std::string>& variables) {
  std::vector<std::string> all = variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    const bool is_replaced =
        std::ranges::any_of(variables, [&](const auto& own) { return own.starts_with(name); });
    if (!is_replaced) all.emplace_back(text);
  }
  return all;
}

std::vector<char*> PointersTo(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void FailToStart(const char* doing) {
  throw Error(std::string("starting a process: ") + doing + ": " + std::strerror(errno));
}

}  // namespace

pid_t StartOwnProgram(const std::vector<std::string>& arguments,
                      const std::vector<std::string>& variables, ChildOutput output) {
  const std::vector<std::string> environment = EnvironmentWith(variables);
  const std::vector<char*> words = PointersTo(arguments), entries = PointersTo(environment);
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) FailToStart("opening /dev/null");
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {  // only async-signal-safe calls
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(kNotStarted);  // it ended before it could be watched
    ::dup2(nothing, STDIN_FILENO);
    if (output == ChildOutput::kNone) ::dup2(nothing, STDOUT_FILENO);
    ::execve("/proc/self/exe", words.data(), entries.data());
    ::_exit(kNotStarted);
  }
  const int problem = errno;
  ::close(nothing);
  errno = problem;
  if (child < 0) FailToStart("forking");
  return child;
}

}  // namespace kvtune
