// A new adapter is a folder: tests/data/adapters/counting and a library made here become an engine of the binary that
// is already built.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/file.h"
#include "tern/base/json.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using test::Ended;
using testing::HasSubstr;

class AdapterCommand : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(write_file(tree_ / "include" / "counting.h", "int counting_from(void);\n"));
    ASSERT_TRUE(write_file(tree_ / "counting.c", "int counting_from(void) { return 40; }\n"));
    ASSERT_TRUE(create_folder(tree_ / "lib"));
    ASSERT_TRUE(write_file(folder_.path() / "scenarios.toml",
                           "[[scenario]]\nname = \"one\"\nprompt = \"Hello\"\nmax_tokens = 3\n"));
  }
  void make_library() {
    ChildCommand compiler;
    compiler.argv = {"c++",
                     "-x",
                     "c",
                     "-shared",
                     "-fPIC",
                     "-o",
                     (tree_ / "lib/libcounting.so").string(),
                     (tree_ / "counting.c").string()};
    const Ended made = test::run_program(compiler);
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  Ended tern(std::vector<std::string> arguments) const {
    ChildCommand command;
    command.argv = std::move(arguments);
    command.argv.insert(command.argv.begin(), test::tern_binary().string());
    command.environment = {{"TERN_ADAPTER_PATH", adapters_.string()},
                           {"XDG_CACHE_HOME", (folder_.path() / "cache").string()}};
    return test::run_program(command);
  }
  Ended record(const std::string& reference, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"pack",        "record",
                                      "--reference", reference,
                                      "--model",     (models_ / "tern-tiny-i2_s.gguf").string(),
                                      "--tokenizer", (models_ / "tokenizer.json").string(),
                                      "--scenarios", (folder_.path() / "scenarios.toml").string(),
                                      "--out",       (folder_.path() / "pack").string()};
    words.insert(words.end(), more.begin(), more.end());
    return tern(words);
  }

  test::TemporaryFolder folder_;
  fs::path tree_ = folder_.path() / "tree";
  fs::path adapters_ = test::source_dir() / "tests" / "data" / "adapters";
  fs::path models_ = test::source_dir() / "models" / "tern-tiny";
};

TEST_F(AdapterCommand, AFolderIsANewEngine) {
  const std::string spec = "counting:" + tree_.string();
  const Ended not_built = tern({"reference", "build", "--reference", spec});
  EXPECT_EQ(not_built.exit_code, 3) << not_built.output;
  EXPECT_THAT(not_built.output, HasSubstr("no libcounting.so: looked in lib (make -C "));
  make_library();
  const Ended built = tern({"reference", "build", "--reference", spec});
  EXPECT_EQ(built.exit_code, 0) << built.output;
  EXPECT_THAT(built.output, HasSubstr("counting 1"));
  EXPECT_THAT(tern({"sweep", "--help"}).output, HasSubstr("counting:DIR"));

  const Ended recorded = record(spec, {"--reference-option", "step=2"});
  ASSERT_EQ(recorded.exit_code, 0) << recorded.output;
  const auto pack = read_file(folder_.path() / "pack" / "pack.json", 1 << 20);
  ASSERT_TRUE(pack) << pack.error().line();
  const auto json = parse_json(*pack, "pack.json");
  ASSERT_TRUE(json) << json.error().line();
  EXPECT_EQ(json->at("engine").at("name"), "counting 1");
  EXPECT_EQ(json->at("engine").at("settings").at("step"), "2");
  EXPECT_THAT(tern({"pack", "show", (folder_.path() / "pack").string()}).output + *pack, HasSubstr("42"));

  fs::remove_all(folder_.path() / "pack");
  const Ended wrong = record(spec, {"--reference-option", "stop=2"});
  EXPECT_EQ(wrong.exit_code, 2) << wrong.output;
  EXPECT_THAT(wrong.output, HasSubstr("counting 1 has no setting 'stop' (did you mean 'step'? it has step (1 to 9))"));
}

TEST_F(AdapterCommand, WhatTheCompilerSaysIsTold) {
  make_library();
  ASSERT_TRUE(write_file(tree_ / "include" / "counting.h", "#error this header is of another version\n"));
  const Ended ended = tern({"reference", "build", "--reference", "counting:" + tree_.string()});
  EXPECT_EQ(ended.exit_code, 4) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("this header is of another version"));
  EXPECT_THAT(ended.output, HasSubstr("build.log"));
}

TEST_F(AdapterCommand, WithoutTheFolderTheSchemeIsUnknown) {
  adapters_ = folder_.path() / "none";
  const Ended ended = tern({"reference", "build", "--reference", "counting:" + tree_.string()});
  EXPECT_EQ(ended.exit_code, 2) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("'counting:"));
  EXPECT_THAT(ended.output, HasSubstr("bitnet.cpp:DIR, llama.cpp:DIR"));
}

}  // namespace
}  // namespace tern
