#include "lib/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>

#include "lib/base/printable.h"
#include "lib/base/status_line.h"

namespace kvtune {
namespace {

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto created = spdlog::stderr_color_st("kvtune");
    created->set_pattern("kvtune: %^%v%$");
    created->set_level(spdlog::level::info);
    // A message that cannot be written is lost; what is being done goes on.
    created->set_error_handler([](const std::string&) {});
    return created;
  }();
  return *logger;
}

// What was found may hold line breaks (a file's content, a library's text); a message is one line.
std::string OneLine(std::string_view message) {
  std::string line(message);
  std::ranges::replace(line, '\n', ' ');
  std::ranges::replace(line, '\r', ' ');
  return PrintableLine(line);
}

}  // namespace

void SetLogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kQuiet:
      Logger().set_level(spdlog::level::err);
      break;
    case LogLevel::kNormal:
      Logger().set_level(spdlog::level::info);
      break;
    case LogLevel::kVerbose:
      Logger().set_level(spdlog::level::debug);
      break;
  }
}

LogLevel CurrentLogLevel() {
  switch (Logger().level()) {
    case spdlog::level::err:
      return LogLevel::kQuiet;
    case spdlog::level::debug:
      return LogLevel::kVerbose;
    default:
      return LogLevel::kNormal;
  }
}

void LogError(std::string_view message) {
  const AboveStatusLine above;
  Logger().error("error: {}", OneLine(message));
}
void LogWarning(std::string_view message) {
  const AboveStatusLine above;
  Logger().warn("warning: {}", OneLine(message));
}
void LogInfo(std::string_view message) {
  const AboveStatusLine above;
  Logger().info("{}", OneLine(message));
}
void LogDetail(std::string_view message) {
  const AboveStatusLine above;
  Logger().debug("{}", OneLine(message));
}

}  // namespace kvtune
