// Splits every line of standard input, a JSON string, as a shell does. Writes one line for each:
// {"commands": [["vllm", "serve"], ...], "missing": ""}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "lib/targets/shell_words.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const kvtune::ShellText shell =
        kvtune::SplitShell(nlohmann::json::parse(line).get<std::string>());
    std::cout << nlohmann::json({{"commands", shell.commands}, {"missing", shell.missing}}).dump()
              << '\n';
  }
}
