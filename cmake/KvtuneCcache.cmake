# Compiles through ccache where it is installed, so that a second clone of the same commit builds in
# seconds. ccache's manual asks for this sloppiness with precompiled headers, together with GCC's
# -fpch-preprocess (see kvtune_runner). The base directory lets clones in other folders share results.
find_program(KVTUNE_CCACHE ccache)
if(KVTUNE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER
    "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=true
    "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime" "${KVTUNE_CCACHE}")
endif()
