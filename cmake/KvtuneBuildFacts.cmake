# What `kvtune --version` says about the build: defines for build_facts.cc, and the commit, which is looked up at
# each build because a tree is configured once and built many times.
set(KVTUNE_CUDA_KERNEL_FACT "none")
if(KVTUNE_CUDA_KERNELS)
  list(JOIN CMAKE_CUDA_ARCHITECTURES ", " KVTUNE_CUDA_KERNEL_FACT)
endif()
set(KVTUNE_TORCH_FACT "")
foreach(part MAJOR MINOR PATCH)
  file(STRINGS "${KVTUNE_TORCH_ROOT}/include/torch/headeronly/version.h" line REGEX "define TORCH_VERSION_${part} ")
  string(REGEX MATCH "[0-9]+" number "${line}")
  list(APPEND KVTUNE_TORCH_FACT "${number}")
endforeach()
list(JOIN KVTUNE_TORCH_FACT "." KVTUNE_TORCH_FACT)
if(KVTUNE_LINK_CUDA)
  string(APPEND KVTUNE_TORCH_FACT ", with CUDA")
else()
  string(APPEND KVTUNE_TORCH_FACT ", CPU only")
endif()
find_package(Git QUIET)
add_custom_target(kvtune_commit
  COMMAND "${CMAKE_COMMAND}"
    -DSOURCE=${PROJECT_SOURCE_DIR} -DGIT=${GIT_EXECUTABLE}
    -DOUTPUT=${CMAKE_CURRENT_BINARY_DIR}/commit.cc
    -P "${PROJECT_SOURCE_DIR}/cmake/WriteCommit.cmake"
  BYPRODUCTS "${CMAKE_CURRENT_BINARY_DIR}/commit.cc"
  COMMENT "")
target_sources(kvtune PRIVATE "${CMAKE_CURRENT_BINARY_DIR}/commit.cc")
# It changes with every commit, and nothing else should be compiled again for that.
set_source_files_properties("${CMAKE_CURRENT_BINARY_DIR}/commit.cc" PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
add_dependencies(kvtune kvtune_commit)
set_source_files_properties(build_facts.cc PROPERTIES COMPILE_DEFINITIONS
  "KVTUNE_TORCH_FACT=\"${KVTUNE_TORCH_FACT}\";KVTUNE_CUDA_KERNEL_FACT=\"${KVTUNE_CUDA_KERNEL_FACT}\";KVTUNE_PAGMO_FACT=\"${Pagmo_VERSION}\";KVTUNE_COMPILER_FACT=\"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, ${CMAKE_BUILD_TYPE}\"")
