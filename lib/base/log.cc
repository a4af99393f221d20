#include "lib/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace kvtune {
namespace {

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto created = spdlog::stderr_color_st("kvtune");
    created->set_pattern("kvtune: %^%v%$");
    created->set_level(spdlog::level::info);
    return created;
  }();
  return *logger;
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

void LogError(std::string_view message) { Logger().error("error: {}", message); }
void LogWarning(std::string_view message) { Logger().warn("warning: {}", message); }
void LogInfo(std::string_view message) { Logger().info("{}", message); }
void LogDetail(std::string_view message) { Logger().debug("{}", message); }

}  // namespace kvtune
