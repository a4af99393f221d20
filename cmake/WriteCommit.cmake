# Writes OUTPUT, a source that says which commit SOURCE is at. It is left alone when nothing changed.
set(commit "unknown")
if(GIT AND EXISTS "${SOURCE}/.git")
  execute_process(COMMAND "${GIT}" -C "${SOURCE}" describe --always --dirty --exclude=* --abbrev=12
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(found)
    set(commit "${found}")
  endif()
endif()
set(text "namespace kvtune {
extern const char* const kCommit;
const char* const kCommit = \"${commit}\";
}  // namespace kvtune
")
set(before "")
if(EXISTS "${OUTPUT}")
  file(READ "${OUTPUT}" before)
endif()
if(NOT before STREQUAL text)
  file(WRITE "${OUTPUT}" "${text}")
endif()
