# tern_options: warnings, sanitizers and floating-point rules shared by every target of ours.
#
# -ffp-contract=off: the engine's arithmetic is specified to the rounding (docs/numerics.md), so the compiler
# must never fuse a product into a sum on its own. Fused operations are written as std::fma or intrinsics.
add_library(tern_options INTERFACE)
target_compile_features(tern_options INTERFACE cxx_std_20)
target_include_directories(tern_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(tern_options INTERFACE -ffp-contract=off)
add_library(tern_warnings INTERFACE)
target_compile_options(tern_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast
  -Wcast-qual -Woverloaded-virtual -Wnull-dereference -Wdouble-promotion)
if(TERN_WERROR)
  target_compile_options(tern_warnings INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports false positives inside libstdc++, fmt and nlohmann-json (GCC bugs 105329, 105651).
  target_compile_options(tern_warnings INTERFACE
    -Wno-restrict -Wno-null-dereference -Wno-array-bounds -Wno-stringop-overflow)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")  # there also inside std::variant
    target_compile_options(tern_warnings INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
if(TERN_SANITIZE)
  target_compile_options(tern_options INTERFACE -fsanitize=${TERN_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(tern_options INTERFACE -fsanitize=${TERN_SANITIZE})
endif()

# src/tern/rooms.txt is the one list of the libraries, in the order in which they are built, and of what each may use:
# TERN_ROOMS, and TERN_ROOM_<name> with the libraries (tern::<name>) behind its arrow.
set(rooms_file ${CMAKE_SOURCE_DIR}/src/tern/rooms.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${rooms_file})
file(STRINGS ${rooms_file} room_lines)
foreach(line IN LISTS room_lines)
  if(NOT line MATCHES "^([a-z_]+)/ .* -> (.*)$")
    message(FATAL_ERROR "${rooms_file}: no room in '${line}'")
  endif()
  set(room ${CMAKE_MATCH_1})
  if(CMAKE_MATCH_2 STREQUAL "all above")
    set(arrows ${TERN_ROOMS})
  else()
    string(REPLACE " " ";" arrows "${CMAKE_MATCH_2}")
    list(REMOVE_ITEM arrows "(libraries)")
  endif()
  list(TRANSFORM arrows PREPEND tern::)
  list(APPEND TERN_ROOMS ${room})
  set(TERN_ROOM_${room} ${arrows})
endforeach()

# Precompiled headers: one set for each kind of target, since a precompiled header is only valid under the flags that it
# was made with (g++ 12 crashes on one of another -O level). Sources include what they use all the same: the clang-tidy
# run and the adapters compile without.
option(TERN_PRECOMPILED_HEADERS "Compile the headers that most files include once for each kind of target" ON)
set(tern_library_headers
  <algorithm> <cstdint> <filesystem> <functional> <map> <memory> <optional> <set> <span> <string> <vector>
  <fmt/format.h> <fmt/ranges.h> <nlohmann/json.hpp> <tl/expected.hpp>)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/precompiled_headers.cc CONTENT "")

# tern_precompiled_headers(<kind> [EXECUTABLE] [LIBRARIES <libraries...>] [HEADERS <headers...>])
# The headers of libraries plus HEADERS, compiled for targets that link LIBRARIES: EXECUTABLE (-fPIE) or library (-fPIC).
# Used through tern_precompile().
function(tern_precompiled_headers kind)
  cmake_parse_arguments(ARG "EXECUTABLE" "" "LIBRARIES;HEADERS" ${ARGN})
  add_library(tern_precompiled_${kind} OBJECT EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/precompiled_headers.cc)
  if(ARG_EXECUTABLE)
    set_target_properties(tern_precompiled_${kind} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(tern_precompiled_${kind} PRIVATE -fPIE)
  endif()
  target_link_libraries(tern_precompiled_${kind} PRIVATE
    tern_options tern_warnings fmt::fmt nlohmann_json::nlohmann_json tl::expected ${ARG_LIBRARIES})
  if(TERN_PRECOMPILED_HEADERS)
    target_precompile_headers(tern_precompiled_${kind} PRIVATE ${tern_library_headers} ${ARG_HEADERS})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(tern_precompiled_${kind} PRIVATE -fpch-preprocess)  # for ccache, where it is used
    endif()
  endif()
endfunction()

# tern_precompile(<target> <kind>)
function(tern_precompile target kind)
  if(TERN_PRECOMPILED_HEADERS)
    target_precompile_headers(${target} REUSE_FROM tern_precompiled_${kind})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -fpch-preprocess)
    endif()
  endif()
endfunction()

# What runs once per file or per report is compiled at -O1, which takes a third less time than -O3; tests at -O0.
add_library(tern_cold INTERFACE)
target_compile_options(tern_cold INTERFACE $<$<CONFIG:Release>:-O1>)
add_library(tern_test_options INTERFACE)
target_compile_options(tern_test_options INTERFACE -O0)

# tern_library(<name> SOURCES <files...> [LIBRARIES <libraries...>] [PRIVATE_LIBRARIES <libraries...>]
#              [COLD] [NO_PRECOMPILED_HEADERS])
# A static library tern_<name> (alias tern::<name>) that links the rooms that rooms.txt allows it, and these libraries of
# others. PRIVATE_LIBRARIES do not show in its headers. COLD: it has no loop over weights, activations, logits or text.
# NO_PRECOMPILED_HEADERS: its files have compiler flags of their own.
function(tern_library name)
  cmake_parse_arguments(ARG "COLD;NO_PRECOMPILED_HEADERS" "" "SOURCES;LIBRARIES;PRIVATE_LIBRARIES" ${ARGN})
  add_library(tern_${name} STATIC ${ARG_SOURCES})
  add_library(tern::${name} ALIAS tern_${name})
  target_link_libraries(tern_${name}
    PUBLIC tern_options ${TERN_ROOM_${name}} ${ARG_LIBRARIES} PRIVATE tern_warnings ${ARG_PRIVATE_LIBRARIES})
  if(ARG_COLD)
    target_link_libraries(tern_${name} PRIVATE tern_cold)
    tern_precompile(tern_${name} cold_library)
  elseif(ARG_NO_PRECOMPILED_HEADERS)
    set_target_properties(tern_${name} PROPERTIES UNITY_BUILD OFF)
  else()
    tern_precompile(tern_${name} library)
  endif()
endfunction()

# tern_test_program(<name> LABELS <labels...> LIBRARIES <libraries...> [TIMEOUT <seconds>])
# One GoogleTest program, whose sources the folders of tests/ add. Each TEST is a CTest case of its own, carrying the
# labels. Tests of suites named ...Deep also carry the label `deep`: many runs of the binary, too slow under sanitizers.
# There, a process costs more than most tests do, so each CTest case is every n-th test but those.
function(tern_test_program name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LIBRARIES;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name})
  target_link_libraries(${name} PRIVATE
    tern_options tern_warnings tern_test_options ${ARG_LIBRARIES} tern_test_support GTest::gmock GTest::gtest_main)
  tern_precompile(${name} test)
  # gtest_discover_tests() takes a list apart, and all properties behind it with it. `ctest -L isa` also finds "unit+isa".
  string(REPLACE ";" "+" labels "${ARG_LABELS}")
  if(TERN_SANITIZE)
    set(n_shards 8)
    math(EXPR last "${n_shards} - 1")
    foreach(shard RANGE ${last})
      add_test(NAME ${name}_${shard}_of_${n_shards} COMMAND ${name} --gtest_filter=-*Deep.* --gtest_brief=1)
      set_tests_properties(${name}_${shard}_of_${n_shards} PROPERTIES LABELS "${labels}" TIMEOUT 600
        ENVIRONMENT "GTEST_TOTAL_SHARDS=${n_shards};GTEST_SHARD_INDEX=${shard}")
    endforeach()
    return()
  endif()
  gtest_discover_tests(${name} TEST_FILTER "-*Deep.*" DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${labels}" TIMEOUT ${ARG_TIMEOUT})
  gtest_discover_tests(${name} TEST_FILTER "*Deep.*" DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${labels}+deep" TIMEOUT 1500)
endfunction()
