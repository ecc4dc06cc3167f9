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
  # g++ 12 reports false positives inside libstdc++ and nlohmann-json at -O2 and above (GCC bugs 105329, 105651).
  target_compile_options(tern_warnings INTERFACE -Wno-restrict -Wno-null-dereference)
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

# tern_library(<name> SOURCES <files...> [LIBRARIES <libraries...>] [PRIVATE_LIBRARIES <libraries...>])
# A static library tern_<name> (alias tern::<name>) that links the rooms that rooms.txt allows it, and these libraries of
# others. PRIVATE_LIBRARIES do not show in its headers.
function(tern_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES;PRIVATE_LIBRARIES" ${ARGN})
  add_library(tern_${name} STATIC ${ARG_SOURCES})
  add_library(tern::${name} ALIAS tern_${name})
  target_link_libraries(tern_${name}
    PUBLIC tern_options ${TERN_ROOM_${name}} ${ARG_LIBRARIES} PRIVATE tern_warnings ${ARG_PRIVATE_LIBRARIES})
endfunction()

# tern_test(<name> SOURCES <files...> DEPS <libraries...> LABELS <labels...> [TIMEOUT <seconds>])
# One GoogleTest program; each TEST is a CTest case of its own, carrying the labels.
function(tern_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tern_options tern_warnings ${ARG_DEPS} tern_test_support GTest::gmock GTest::gtest_main)
  # gtest_discover_tests() takes a list apart, and all properties behind it with it. `ctest -L isa` also finds "unit+isa".
  string(REPLACE ";" "+" labels "${ARG_LABELS}")
  gtest_discover_tests(${name} PROPERTIES LABELS "${labels}" TIMEOUT ${ARG_TIMEOUT} DISCOVERY_TIMEOUT 60)
endfunction()
