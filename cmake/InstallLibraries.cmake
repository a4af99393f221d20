# Run by `cmake --install`: copies shared libraries into KVTUNE_PRIVATE_LIBRARIES below the prefix.

# kvtune_needed_libraries(VARIABLE): everything that KVTUNE_PROGRAM loads, but what each Linux system has.
function(kvtune_needed_libraries variable)
  file(GLOB nvidia "${KVTUNE_TORCH_ROOT}/../nvidia/*/lib")
  file(GET_RUNTIME_DEPENDENCIES
    EXECUTABLES "${KVTUNE_PROGRAM}"
    RESOLVED_DEPENDENCIES_VAR resolved
    UNRESOLVED_DEPENDENCIES_VAR unresolved
    DIRECTORIES ${nvidia}
    PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|util|pthread|gcc_s|stdc\\+\\+)\\.so" "^libcuda\\.so")
  if(unresolved)
    message(FATAL_ERROR "installing kvtune: found no ${unresolved}, expected the libraries that the program was linked with")
  endif()
  set(${variable} "${resolved}" PARENT_SCOPE)
endfunction()

# Copies a library under the name by which it is looked for.
function(kvtune_copy_library library)
  get_filename_component(name "${library}" NAME)
  get_filename_component(content "${library}" REALPATH)
  file(INSTALL "${content}" DESTINATION "${CMAKE_INSTALL_PREFIX}/${KVTUNE_PRIVATE_LIBRARIES}" RENAME "${name}")
endfunction()

function(kvtune_is_of_torch variable library)
  get_filename_component(content "${library}" REALPATH)
  set(${variable} FALSE PARENT_SCOPE)
  foreach(folder "${KVTUNE_TORCH_ROOT}" "${KVTUNE_TORCH_ROOT}/../nvidia")
    get_filename_component(folder "${folder}" REALPATH)
    cmake_path(IS_PREFIX folder "${content}" inside)
    if(inside)
      set(${variable} TRUE PARENT_SCOPE)
    endif()
  endforeach()
endfunction()

function(kvtune_install_libtorch)
  kvtune_needed_libraries(needed)
  if(KVTUNE_LINK_CUDA)
    # NVIDIA's libraries load others by name while they run, which no table of dependencies tells.
    file(GLOB loaded_later "${KVTUNE_TORCH_ROOT}/../nvidia/*/lib/*.so*" "${KVTUNE_TORCH_ROOT}/lib/libtorch_cuda*.so"
      "${KVTUNE_TORCH_ROOT}/lib/libcaffe2_nvrtc.so")
    list(APPEND needed ${loaded_later})
  endif()
  foreach(library ${needed})
    kvtune_is_of_torch(inside "${library}")
    if(inside)
      kvtune_copy_library("${library}")
    endif()
  endforeach()
  file(GLOB licences "${KVTUNE_TORCH_ROOT}/../torch-*.dist-info/licenses/LICENSE" "${KVTUNE_TORCH_ROOT}/../torch-*.dist-info/licenses/NOTICE")
  file(INSTALL ${licences} DESTINATION "${CMAKE_INSTALL_PREFIX}/share/doc/kvtune/libtorch")
endfunction()

function(kvtune_install_system_libraries)
  kvtune_needed_libraries(needed)
  foreach(library ${needed})
    kvtune_is_of_torch(inside "${library}")
    if(NOT inside)
      kvtune_copy_library("${library}")
      # What the Debian package says about its licence goes along.
      get_filename_component(content "${library}" REALPATH)
      get_filename_component(file "${content}" NAME)
      execute_process(COMMAND dpkg-query -S "*/${file}" OUTPUT_VARIABLE owner ERROR_QUIET)
      string(REGEX REPLACE ":.*" "" package "${owner}")
      if(package AND EXISTS "/usr/share/doc/${package}/copyright")
        file(INSTALL "/usr/share/doc/${package}/copyright"
          DESTINATION "${CMAKE_INSTALL_PREFIX}/share/doc/kvtune/libraries" RENAME "${package}.copyright")
      endif()
    endif()
  endforeach()
endfunction()
