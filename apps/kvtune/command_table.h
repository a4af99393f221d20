// The commands of kvtune, each with its options.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/kvtune/options.h"
#include "lib/base/error.h"

namespace CLI {
class App;
}  // namespace CLI

namespace kvtune {

struct Command {
  using Action = std::function<ExitCode(const Invocation&)>;

  std::string name;  // one word or two
  std::string summary;
  Action (*bind)(CLI::App& app);  // declares its options and returns what runs once they are read
};

// All commands, in the order in which `kvtune --help` lists them.
const std::vector<Command>& Commands();

}  // namespace kvtune
