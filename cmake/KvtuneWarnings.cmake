# Warnings as an interface target, linked PRIVATE by every target of ours.
add_library(kvtune_warnings INTERFACE)
target_compile_options(kvtune_warnings INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC bug 105651: std::string concatenation is taken for an overlapping memcpy.
  target_compile_options(kvtune_warnings INTERFACE -Wno-restrict)
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
    # GCC bug 105562: with sanitizers, std::regex is taken for reading uninitialized std::functions.
    target_compile_options(kvtune_warnings INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
if(KVTUNE_WERROR)
  target_compile_options(kvtune_warnings INTERFACE -Werror)
endif()
