// The real binary, and other programs, as tests start them.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/paths.h"
#include "tern/base/child_process.h"
#include "tern/base/json.h"

namespace tern::test {

struct Ended {
  int exit_code = -1;  // -1 where a signal ended it
  std::string output;  // the end of what it printed on stdout and stderr
};

// A program that cannot even be started fails the test.
inline Ended run_program(const ChildCommand& command) {
  const auto ended = run_child(command);
  EXPECT_TRUE(ended) << ended.error().line();
  return ended ? Ended{ended->exit_code.value_or(-1), ended->output_tail} : Ended{};
}

// The tern of this build. Whatever references this machine has, only those that a test names are used.
inline ChildCommand tern_command(std::vector<std::string> arguments,
                                 std::map<std::string, std::string> environment = {}) {
  ChildCommand command;
  command.argv = std::move(arguments);
  command.argv.insert(command.argv.begin(), tern_binary().string());
  command.environment = std::move(environment);
  command.environment.insert({"BITNET_CPP_DIR", ""});
  if (!command.environment.contains("XDG_CACHE_HOME")) {
    command.environment.insert({"HOME", "/nonexistent"});
  }
  command.timeout_s = 100;
  return command;
}

// What a program wrote. A file that is no JSON fails the test.
inline Json json_in(const std::filesystem::path& path) {
  const auto json = read_json_file(path, uint64_t{256} << 20);
  EXPECT_TRUE(json) << json.error().line();
  return json ? *json : Json();
}

}  // namespace tern::test
