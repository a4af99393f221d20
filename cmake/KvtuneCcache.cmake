# Compile through ccache where it is installed: a second clone of the same commit builds in seconds.
find_program(KVTUNE_CCACHE ccache)
if(KVTUNE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${KVTUNE_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${KVTUNE_CCACHE}")
endif()
