// Messages for people, on stderr. Results go to stdout and never through here.
//
// The header shows neither spdlog nor fmt: libtorch carries another fmt, and a file may see only
// one.
#pragma once

#include <string_view>

namespace kvtune {

enum class LogLevel { kQuiet, kNormal, kVerbose };

// kQuiet shows errors only, kNormal adds warnings and stages, kVerbose adds details.
void SetLogLevel(LogLevel level);
LogLevel CurrentLogLevel();

void LogError(std::string_view message);
void LogWarning(std::string_view message);
void LogInfo(std::string_view message);
void LogDetail(std::string_view message);

}  // namespace kvtune
