// kvtune: layer-wise precision of a decoder's KV cache, found offline.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "apps/kvtune/cli.h"
#include "apps/kvtune/interrupt.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

namespace {

// Opens what the caller closed of stdin, stdout and stderr: the next file that kvtune opens would
// take its number, and results or messages would be written into it. Stdout is opened for reading,
// so that a result which nobody can see is an error still.
void OpenStandardStreams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0) continue;
    // The lowest free number, which is `descriptor`.
    [[maybe_unused]] const int opened =
        ::open("/dev/null", descriptor == STDERR_FILENO ? O_WRONLY : O_RDONLY);
  }
}

// What the system refuses is no bug of ours: a name that is too long, a loop of links, no memory.
std::string DescribeRefusal(const std::filesystem::filesystem_error& error) {
  std::string text = "opening " + error.path1().string();
  if (!error.path2().empty()) text += " and " + error.path2().string();
  return text + ": " + error.code().message();
}

kvtune::ExitCode Run(const std::vector<std::string>& arguments) {
  try {
    OpenStandardStreams();
    kvtune::InstallInterruptHandler();
    return kvtune::RunCommandLine(arguments);
  } catch (const kvtune::Error& error) {
    kvtune::LogError(error.what());
    return error.exit_code();
  } catch (const std::filesystem::filesystem_error& error) {
    kvtune::LogError(DescribeRefusal(error));
    return kvtune::ExitCode::kError;
  } catch (const std::system_error& error) {
    kvtune::LogError(std::string("asking the system: ") + error.what());
    return kvtune::ExitCode::kError;
  } catch (const std::bad_alloc&) {
    kvtune::LogError("reserving memory: found too little of it, expected enough for this command");
    return kvtune::ExitCode::kError;
  } catch (const std::exception& error) {
    kvtune::LogError(std::string(error.what()) + " (this is a bug in kvtune)");
    return kvtune::ExitCode::kBug;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const kvtune::ExitCode code = Run({argv, argv + argc});
  // All files are closed by now. Taking down libtorch's tables of operators, as returning does,
  // would be a quarter of the time of a short command.
  std::fflush(nullptr);
  std::_Exit(static_cast<int>(code));
}
