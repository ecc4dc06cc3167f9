// A sweep against a bitnet.cpp that really runs, where this machine has one: TERN_TEST_BITNET_CPP_DIR names a built
// tree (AVX2 without AVX-512, clang). llama.cpp: live_llama_cpp_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/base/json.h"

namespace tern {
namespace {

using testing::HasSubstr;

class LiveReference : public testing::Test {
 protected:
  // Exit code; what was printed goes to output_.
  int tern(std::vector<std::string> arguments, std::map<std::string, std::string> environment = {}) {
    environment.insert({"XDG_CACHE_HOME", (folder_.path() / "cache").string()});
    ChildCommand command = test::tern_command(std::move(arguments), std::move(environment));
    command.timeout_s = 400;
    const test::Ended ended = test::run_program(command);
    output_ = ended.output;
    return ended.exit_code;
  }
  Json receipt(const std::string& sweep, const std::string& scenario) {
    const auto json = read_json_file(folder_.path() / sweep / scenario / "logits-comparison.json");
    EXPECT_TRUE(json) << json.error().line();
    return json ? *json : Json();
  }
  void expect_ok(const std::string& sweep) {
    for (const char* scenario : {"scenario1", "scenario2", "scenario3"}) {
      const Json parity = receipt(sweep, scenario)["parity"];
      EXPECT_EQ(parity["status"], "ok") << scenario;
      EXPECT_EQ(parity["exact_match_rate"], 1.0);
      EXPECT_GE(parity["cosine_similarity"].get<double>(), 0.9999);
    }
  }

  test::TemporaryFolder folder_;
  std::string output_;
};

TEST_F(LiveReference, BitnetCppComputesTheSameBits) {
  const char* const tree = std::getenv("TERN_TEST_BITNET_CPP_DIR");
  if (tree == nullptr) {
    GTEST_SKIP() << "TERN_TEST_BITNET_CPP_DIR is not set";
  }
  const std::string spec = std::string("bitnet.cpp:") + tree;
  ASSERT_EQ(tern({"reference", "build", "--reference", spec}), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("building the adapter"));
  EXPECT_THAT(output_, HasSubstr("libllama.so"));
  const std::string model = (test::bundled_model_dir() / "tern-tiny-i2_s.gguf").string();
  const std::string tokenizer = (test::bundled_model_dir() / "tokenizer.json").string();
  ASSERT_EQ(tern({"sweep", model, tokenizer, (folder_.path() / "exact").string(), "--reference", spec, "--threads", "1",
                  "--reference-arithmetic", "bitnet.cpp-x86-64"}),
            0)
      << output_;
  expect_ok("exact");
  EXPECT_THAT(output_, HasSubstr("93/93"));
  EXPECT_THAT(output_, HasSubstr("372/372"));
  EXPECT_THAT(output_, testing::Not(HasSubstr("building the adapter")));
  // The variable alone suffices.
  ASSERT_EQ(tern({"sweep", model, tokenizer, (folder_.path() / "variable").string(), "--threads", "1"},
                 {{"BITNET_CPP_DIR", tree}}),
            0)
      << output_;
  expect_ok("variable");
  EXPECT_EQ(receipt("variable", "scenario1")["reference"]["spec"], spec);
}

}  // namespace
}  // namespace tern
