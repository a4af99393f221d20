// Messages for people, which go to stderr. Results go to stdout and never pass through here.
//
// This header shows neither spdlog nor fmt, because libtorch carries another fmt and a source file
// may see only one.
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
