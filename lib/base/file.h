// Whole-file reading and writing that never leaves half a file behind.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "lib/base/file_descriptor.h"

namespace kvtune {

// Opens a file for reading. Throws Error, which begins with `doing`, names `path` and says the
// system's reason. A folder, a pipe or a device is refused before it is opened, because a read of
// it may never return or never end; a link to a file is followed.
FileDescriptor OpenForReading(const std::filesystem::path& path, std::string_view doing);

// Throws Error as OpenForReading does.
std::string ReadFile(const std::filesystem::path& path);

// Writes to a temporary file beside `path`, flushes it to disk and renames it over `path`, so that
// a reader sees the old content or the new, but never a part. A link is replaced and not followed.
// On return the content and its name are on the disk. When it throws Error, `path` holds the old
// content or the new one.
void WriteFileAtomically(const std::filesystem::path& path, std::string_view content);

// Does the same for a file that the user named. A link stays, and the file that it leads to is
// written; an existing file keeps its permissions. Throws Error as RequireOutputFile does.
void WriteOutputFile(const std::filesystem::path& path, std::string_view content);

// Throws Error where WriteOutputFile would refuse to write: `path` is, or leads to, a folder, a
// pipe, a device, or a stream of this process such as /dev/stdout. None of them can be replaced
// without harm.
void RequireOutputFile(const std::filesystem::path& path);

// Appends `lines` (each must end in '\n') in one write and flushes it, so that a crash can tear at
// most the last line. A new file's name is flushed too. A link is refused. Throws Error.
void AppendToFile(const std::filesystem::path& path, std::string_view lines);

// Creates `path` and its parents and checks that a file can be written in it. Throws Error.
void CreateWritableDirectory(const std::filesystem::path& path);

}  // namespace kvtune
