# kvtune_library(NAME HEADERS ... PRIVATE_HEADERS ... SOURCES ... PUBLIC ... PRIVATE ...)
#
# One static library per folder. HEADERS are what other folders may include, PRIVATE_HEADERS are for
# the folder itself and its own tests; scripts/check_includes.py reads both lists and enforces them.
# Each header is also compiled alone by the target `all_verify_interface_header_sets`; CMake does this
# for interface headers only, so a library without sources stands for the private ones. PUBLIC and
# PRIVATE are link dependencies.
function(kvtune_library name)
  cmake_parse_arguments(ARG "" "" "HEADERS;PRIVATE_HEADERS;SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}" FILES ${ARG_HEADERS})
  target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE kvtune_warnings ${ARG_PRIVATE})
  set_target_properties(${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  if(ARG_PRIVATE_HEADERS)
    add_library(${name}_private_headers INTERFACE)
    target_sources(${name}_private_headers INTERFACE
      FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}" FILES ${ARG_PRIVATE_HEADERS})
    target_link_libraries(${name}_private_headers INTERFACE ${name} ${ARG_PRIVATE})
    set_target_properties(${name}_private_headers PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  endif()
endfunction()

# kvtune_test(NAME SOURCES ... LINK ... LABELS ...)
#
# One GoogleTest program per mirrored folder; ctest runs its cases one by one. Tests read small
# goldens through KVTUNE_TEST_DATA_DIR and the optional real models through KVTUNE_SHARED_DATA_DIR.
function(kvtune_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE kvtune_warnings ${ARG_LINK} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    KVTUNE_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    KVTUNE_TEST_DATA_DIR="${PROJECT_SOURCE_DIR}/tests/data"
    KVTUNE_SHARED_DATA_DIR="${PROJECT_SOURCE_DIR}/../shared/data")
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)  # an empty value would vanish from the list of properties
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600)
endfunction()
