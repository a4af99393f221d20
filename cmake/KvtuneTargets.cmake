# kvtune_set_unity(TARGET [SOURCE...]): eight sources at a time, with KVTUNE_UNITY, and these ones alone.
function(kvtune_set_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${KVTUNE_UNITY} UNITY_BUILD_BATCH_SIZE 8)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# kvtune_compile_together(TARGET [ALONE SOURCE...])
#
# With KVTUNE_UNITY the compiler gets the target's sources eight at a time, so that it reads every header once for all of
# them. Sources with ALONE, and those with options of their own, stay by themselves: they give names of their anonymous
# namespaces to other things than a source beside them does. The target check_unity, which a test builds, compiles each
# folder as one source, so that no order of sources can break it.
function(kvtune_compile_together target)
  cmake_parse_arguments(ARG "" "" "ALONE" ${ARGN})
  kvtune_set_unity(${target} ${ARG_ALONE})
  if(NOT KVTUNE_BUILD_TESTS)
    return()
  endif()
  if(NOT TARGET check_unity)
    add_custom_target(check_unity)
  endif()
  get_target_property(sources ${target} SOURCES)
  list(REMOVE_ITEM sources ${ARG_ALONE})
  list(FILTER sources INCLUDE REGEX "^[^/]*\\.cc$")
  add_library(${target}_together OBJECT EXCLUDE_FROM_ALL ${sources})
  set_target_properties(${target}_together PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0 EXPORT_COMPILE_COMMANDS OFF)
  foreach(property COMPILE_OPTIONS COMPILE_DEFINITIONS INCLUDE_DIRECTORIES)
    set_target_properties(${target}_together PROPERTIES ${property} "$<TARGET_PROPERTY:${target},${property}>")
  endforeach()
  target_compile_options(${target}_together PRIVATE -O0 -g0 -w)
  add_dependencies(check_unity ${target}_together)
endfunction()

# kvtune_library(NAME HEADERS ... PRIVATE_HEADERS ... SOURCES ... [ALONE SOURCE...] PUBLIC ... PRIVATE ...)
#
# One static library per folder. HEADERS are what other folders may include, PRIVATE_HEADERS are for
# the folder itself and its own tests; scripts/check_includes.py reads both lists and enforces them.
# A header is compiled alone by the source of its name, which includes it first, as that script also checks. The target
# `all_verify_interface_header_sets` compiles the headers that have no such source; CMake does this for interface
# headers only, so a library without sources stands for them. PUBLIC and PRIVATE are link dependencies.
#
# KVTUNE_UNITY compiles the sources of a folder together, as kvtune_compile_together says.
function(kvtune_library name)
  cmake_parse_arguments(ARG "" "" "HEADERS;PRIVATE_HEADERS;SOURCES;ALONE;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}" FILES ${ARG_HEADERS})
  target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE kvtune_warnings ${ARG_PRIVATE})
  kvtune_compile_together(${name} ALONE ${ARG_ALONE})
  set(headers ${ARG_HEADERS} ${ARG_PRIVATE_HEADERS})
  list(TRANSFORM ARG_SOURCES REPLACE "\\.cc$" ".h" OUTPUT_VARIABLE headers_of_sources)
  list(REMOVE_ITEM headers ${headers_of_sources})
  if(headers)
    add_library(${name}_headers INTERFACE)
    target_sources(${name}_headers INTERFACE FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}" FILES ${headers})
    target_link_libraries(${name}_headers INTERFACE ${name} ${ARG_PRIVATE})
    set_target_properties(${name}_headers PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  endif()
endfunction()

# kvtune_test_environment(VARIABLE THREADS [GPU])
#
# Sets VARIABLE to the environment of a test that uses THREADS threads. Tests run beside each other, so
# an idle OpenMP thread must sleep: one that spins takes the core of another test. Without GPU the test
# sees no GPU, so that it computes the same on every machine.
function(kvtune_test_environment variable threads)
  set(environment OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${threads})
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=address")
    list(APPEND environment "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/leaks.txt:print_suppressions=0")
  endif()
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=thread")
    # libomp is not compiled for the thread sanitizer. Archer tells that how its threads wait for each other.
    find_library(KVTUNE_ARCHER libarcher.so HINTS /usr/lib/llvm-19/lib REQUIRED)
    list(APPEND environment OMP_TOOL_LIBRARIES=${KVTUNE_ARCHER} TSAN_OPTIONS=ignore_noninstrumented_modules=1)
  endif()
  if(NOT "GPU" IN_LIST ARGN)
    list(APPEND environment CUDA_VISIBLE_DEVICES=)
  endif()
  set(${variable} "${environment}" PARENT_SCOPE)
endfunction()

# kvtune_command_tests(TEST... [THREADS n] [ENVIRONMENT VARIABLE=VALUE...])
#
# Gives tests made by add_test, which see no GPU, their environment and their number of processors. They take up to
# minutes, so they start before the cases of GoogleTest, which fill the processors to the end.
function(kvtune_command_tests)
  cmake_parse_arguments(ARG "" "THREADS" "ENVIRONMENT" ${ARGN})
  if(NOT ARG_THREADS)
    set(ARG_THREADS 1)
  endif()
  kvtune_test_environment(environment ${ARG_THREADS})
  list(APPEND environment ${ARG_ENVIRONMENT})
  set_tests_properties(${ARG_UNPARSED_ARGUMENTS} PROPERTIES
    COST 60
    PROCESSORS ${ARG_THREADS}
    ENVIRONMENT "${environment}")
endfunction()

# kvtune_quick_to_compile(TARGET): for tests, most of whose time goes to the compiler and little to their own code.
function(kvtune_quick_to_compile target)
  target_compile_options(${target} PRIVATE -O0 -g1)
  set(no_checks -fno-sanitize=undefined)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fpch-preprocess)  # ccache needs it.
    list(APPEND no_checks --param asan-instrumentation-with-call-threshold=0)
  else()
    list(APPEND no_checks -fno-sanitize=float-cast-overflow,fuzzer-no-link -fsanitize-address-outline-instrumentation)
  endif()
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=address")
    # What is tested keeps every check. The checks of a test's own code would take most of the time that it compiles.
    target_compile_options(${target} PRIVATE ${no_checks})
  endif()
  # CMake gives programs other options for it than objects, and a precompiled header must have the same everywhere.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
endfunction()

# kvtune_test(NAME SOURCES ... [ALONE SOURCE...] LINK ... [LABELS ...] [THREADS n] [GPU] [TOGETHER])
#
# With KVTUNE_UNITY the compiler gets the sources eight at a time but for those under ALONE, as it gets those of a library.
# One GoogleTest program per mirrored folder; ctest runs its cases one by one, or with TOGETHER as the one test NAME.all:
# a program that loads libtorch takes over a second to start. Tests read small
# goldens through KVTUNE_TEST_DATA_DIR and the optional real models through KVTUNE_SHARED_DATA_DIR.
# A case may use THREADS threads (default 1), and sees a GPU only with GPU.
function(kvtune_test name)
  cmake_parse_arguments(ARG "GPU;TOGETHER" "THREADS" "SOURCES;ALONE;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  kvtune_set_unity(${name} ${ARG_ALONE})
  kvtune_quick_to_compile(${name})
  target_precompile_headers(${name} REUSE_FROM kvtune_test_headers)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE kvtune_warnings ${ARG_LINK} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    KVTUNE_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    KVTUNE_TEST_DATA_DIR="${PROJECT_SOURCE_DIR}/tests/data"
    KVTUNE_SHARED_DATA_DIR="${PROJECT_SOURCE_DIR}/../shared/data")
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_THREADS)
    set(ARG_THREADS 1)
  endif()
  set(gpu "")
  if(ARG_GPU)
    set(gpu GPU)
  endif()
  kvtune_test_environment(environment ${ARG_THREADS} ${gpu})
  if(ARG_TOGETHER)
    add_test(NAME ${name}.all COMMAND ${name})
    set_tests_properties(${name}.all PROPERTIES
      LABELS "${ARG_LABELS}" TIMEOUT 1200 PROCESSORS ${ARG_THREADS} ENVIRONMENT "${environment}")
    return()
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60)
  # The properties stand in a file of their own, which ctest reads after the list of the program's
  # cases, because gtest_discover_tests would take a list (the environment) apart.
  set(properties "${CMAKE_CURRENT_BINARY_DIR}/${name}_properties.cmake")
  file(WRITE "${properties}" "if(${name}_TESTS)
  set_tests_properties(\${${name}_TESTS} PROPERTIES
    LABELS \"${ARG_LABELS}\" TIMEOUT 600 PROCESSORS ${ARG_THREADS} ENVIRONMENT \"${environment}\")
endif()
")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${properties}")
endfunction()
