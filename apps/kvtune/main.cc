// kvtune: layer-wise precision of a decoder's KV cache, found offline.
#include <exception>
#include <string>
#include <vector>

#include "apps/kvtune/cli.h"
#include "apps/kvtune/interrupt.h"
#include "lib/base/error.h"
#include "lib/base/log.h"

namespace {

// What was found may hold line breaks (a file's content, a library's text); a message is one line.
std::string OneLine(std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return message;
}

kvtune::ExitCode Run(const std::vector<std::string>& arguments) {
  try {
    kvtune::InstallInterruptHandler();
    return kvtune::RunCommandLine(arguments);
  } catch (const kvtune::Error& error) {
    kvtune::LogError(OneLine(error.what()));
    return error.exit_code();
  } catch (const std::exception& error) {
    kvtune::LogError(OneLine(error.what()) + " (this is a bug in kvtune)");
    return kvtune::ExitCode::kBug;
  }
}

}  // namespace

int main(int argc, char** argv) { return static_cast<int>(Run({argv, argv + argc})); }
