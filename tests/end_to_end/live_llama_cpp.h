// A test with a llama.cpp that really runs: npm's prebuilt one, which scripts/test.sh installs into build/npm, or
// whatever `llama.cpp:DIR` takes in TERN_TEST_LLAMA_CPP_DIR. Where there is none, or it is for another CPU, the test is
// skipped and says why; with TERN_REQUIRE_LIVE=1, as in CI, a missing one is a failure.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/json.h"

namespace tern::test {

#ifdef __x86_64__
constexpr bool kNpmHasThisCpu = true;  // tests/npm holds the package for it
#else
constexpr bool kNpmHasThisCpu = false;
#endif

class LiveEngineTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* const set = std::getenv("TERN_TEST_LLAMA_CPP_DIR");
    const std::filesystem::path tree = set != nullptr ? std::filesystem::path(set) : source_dir() / "build" / "npm";
    if (set == nullptr && !kNpmHasThisCpu) {
      GTEST_SKIP() << "build/npm holds a llama.cpp for x86-64, and this CPU is another; TERN_TEST_LLAMA_CPP_DIR names "
                      "one that runs here";
    }
    if (set == nullptr && !std::filesystem::exists(tree / "node_modules" / "node-llama-cpp")) {
      const char* const required = std::getenv("TERN_REQUIRE_LIVE");
      const std::string missing = "there is no node-llama-cpp in " + tree.string() + "; scripts/test.sh installs it";
      if (required != nullptr && std::string_view(required) == "1") {
        FAIL() << missing << " (TERN_REQUIRE_LIVE is set)";
      }
      GTEST_SKIP() << missing;
    }
    spec_ = "llama.cpp:" + tree.string();
    build_adapter();
  }

  Ended run(std::vector<std::string> argv, const std::filesystem::path& output = {}) const {
    ChildCommand command;
    command.argv = std::move(argv);
    command.environment = {{"BITNET_CPP_DIR", ""}, {"XDG_CACHE_HOME", cache_.string()}};
    command.output_path = output;
    command.timeout_s = 300;
    return run_program(command);
  }
  Ended tern(std::vector<std::string> arguments, const std::filesystem::path& output = {}) const {
    arguments.insert(arguments.begin(), tern_binary().string());
    return run(std::move(arguments), output);
  }

  TemporaryFolder folder_;
  std::string spec_;
  std::string adapter_;

 private:
  // Compiling takes ten seconds: the first test does it for all, in a cache of this build that is keyed by content.
  void build_adapter() {
    ASSERT_TRUE(create_folder(cache_));
    const int lock = ::open((cache_ / "lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ASSERT_GE(lock, 0);
    ASSERT_EQ(::flock(lock, LOCK_EX), 0);
    const Ended built = tern({"reference", "build", "--reference", spec_});
    ::close(lock);
    ASSERT_EQ(built.exit_code, 0) << built.output;
    constexpr std::string_view kLabel = "Adapter:";
    const size_t label = built.output.find(kLabel);
    ASSERT_NE(label, std::string::npos) << built.output;
    const size_t begin = built.output.find_first_not_of(' ', label + kLabel.size());
    adapter_ = built.output.substr(begin, built.output.find('\n', begin) - begin);
    ASSERT_TRUE(std::filesystem::exists(adapter_)) << built.output;
  }

  std::filesystem::path cache_ = tern_binary().parent_path().parent_path() / "live-reference-cache";
};

}  // namespace tern::test
