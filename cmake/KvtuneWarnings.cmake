# Warnings as an interface target, linked PRIVATE by every target of ours.
add_library(kvtune_warnings INTERFACE)
target_compile_options(kvtune_warnings INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor)
if(KVTUNE_WERROR)
  target_compile_options(kvtune_warnings INTERFACE -Werror)
endif()
