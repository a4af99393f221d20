# The warnings are an interface target that every target of ours links PRIVATE.
add_library(kvtune_warnings INTERFACE)
target_compile_options(kvtune_warnings INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC bug 105651 takes the concatenation of std::string for an overlapping memcpy.
  target_compile_options(kvtune_warnings INTERFACE -Wno-restrict)
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
    # GCC bug 105562 believes, with sanitizers, that std::regex reads uninitialized std::functions.
    target_compile_options(kvtune_warnings INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # A field that a designated initializer leaves out has its default. The deprecated function is libstdc++'s own, in
  # std::stable_sort and its like.
  target_compile_options(kvtune_warnings INTERFACE -Wno-missing-designated-field-initializers -Wno-deprecated-declarations)
endif()
if(KVTUNE_UNITY)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # It means types of an anonymous namespace in a header, and takes the sources of a folder for headers.
    target_compile_options(kvtune_warnings INTERFACE -Wno-subobject-linkage)
  else()
    # It takes the constants of one source for shadowed by the variables of the next one.
    target_compile_options(kvtune_warnings INTERFACE -Wno-shadow)
  endif()
endif()
if(KVTUNE_WERROR)
  target_compile_options(kvtune_warnings INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_FLAGS MATCHES "-fsanitize=[a-z,]*undefined")
  # The path is relative to the folder in which Ninja runs the compiler, so that clones share ccache's results.
  file(RELATIVE_PATH ignores "${PROJECT_BINARY_DIR}" "${PROJECT_SOURCE_DIR}/tests/sanitizer_ignores.txt")
  add_compile_options("-fsanitize-ignorelist=${ignores}")
endif()
