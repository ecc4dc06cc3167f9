// From a tree to a running engine, with a shell script in the compiler's place whose "program" is a shell script too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/peer/engine_registry.h"

namespace tern::peer {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

// Writes the adapter to the word behind -o. That one answers --facts, and writes its arguments into a result.
constexpr const char* kCompiler = R"sh(#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
while [ "$1" != -o ]; do shift; done
cat > "$2" <<'END'
#!/bin/sh
words="$*"
while [ $# -gt 0 ]; do
  [ "$1" = --facts ] && facts=1
  [ "$1" = --out ] && out=$2
  [ "$1" = --arithmetic ] && arithmetic=$2
  shift
done
if [ -n "$facts" ]; then
  echo "a library's own line"
  echo '{"name": "stand-in 1", "arithmetic": null, "level": "tensors", "abilities": ["token_ids", "ubatch", "flying"],'
  echo ' "settings": {"flash_attention": {"values": ["off", "on"]}, "threads": {"from": 1, "to": 8},'
  echo '              "ubatch": {"from": 1, "to": 512}},'
  echo ' "engine_facts": {"asked": "'$words'", "system_info": "AVX2 = 1 | AVX512 = 1 | "}}'
else
  echo "$words"
  echo '{"engine":"stand-in 1","arithmetic":"'$arithmetic'","prompt":"Hello","max_tokens":1,"prompt_tokens":[5],"generated_tokens":[7],"timing":{}}' > "$out/result.json"
fi
END
chmod +x "$2"
)sh";

class LiveEngineTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* file : {"3rdparty/llama.cpp/include/llama.h", "3rdparty/llama.cpp/ggml/include/ggml.h",
                             "build/bin/libllama.so", "build/bin/libggml.so"}) {
      ASSERT_TRUE(write_file(tree_ / file, ""));
    }
    ASSERT_TRUE(write_file(folder_.path() / "options.rsp", "-Isrc\n"));
    ASSERT_TRUE(write_file(folder_.path() / "libtern.a", "ours"));
    ASSERT_TRUE(write_file(folder_.path() / "libraries.rsp", "\"" + (folder_.path() / "libtern.a").string() + "\"\n"));
    write_compiler(kCompiler);
    options_.recipe = {{test::source_dir() / "adapters"},
                       folder_.path() / "options.rsp",
                       folder_.path() / "libraries.rsp",
                       (folder_.path() / "compiler").string(),
                       folder_.path() / "cache"};
    options_.on_build = [this](const std::string&) { ++n_builds_; };
  }
  void write_compiler(const std::string& script) {
    ASSERT_TRUE(write_file(folder_.path() / "compiler", script));
    fs::permissions(folder_.path() / "compiler", fs::perms::owner_all);
  }
  Result<OpenedEngine> open(const std::string& spec) {
    const Subject subject{folder_.path() / "models" / "m.gguf", "sha", "sha", true};
    const EngineRegistry engines = EngineRegistry::load(options_.recipe);
    return engines.open(engines.parse(spec, "--reference").value(), subject, options_);
  }
  std::string spec() const { return "bitnet.cpp:" + tree_.string(); }

  test::TemporaryFolder folder_;
  fs::path tree_ = fs::canonical(folder_.path()) / "tree";
  OpenOptions options_;
  int n_builds_ = 0;
};

TEST_F(LiveEngineTest, IsBuiltOnceAndRuns) {
  auto opened = open(spec());
  ASSERT_TRUE(opened) << opened.error().line();
  EXPECT_EQ(opened->kind, "bitnet.cpp");
  EXPECT_EQ(opened->engine, "stand-in 1");
  EXPECT_TRUE(opened->traits.has_adapter);
  EXPECT_EQ(opened->level, trace::Level::kTensors);
  EXPECT_EQ(opened->details["layout"], "bitnet.cpp tree");
  EXPECT_TRUE(opened->details["arithmetic"].is_null());
  const std::string call = read_file(folder_.path() / "calls", 10000).value();
  EXPECT_THAT(call, HasSubstr("@" + (folder_.path() / "options.rsp").string() + " -std=c++20 -O1 -I"));
  EXPECT_THAT(call, HasSubstr((tree_ / "build/bin/libggml.so").string()));
  EXPECT_THAT(call, HasSubstr("-Wl,-rpath," + (tree_ / "build/bin").string()));

  RunRequest request;
  request.model = "m.gguf";
  request.prompt = "-Hello {out}";
  request.run_folder = folder_.path() / "run";
  request.trace_folder = folder_.path() / "traces";
  request.output_file = folder_.path() / "output.txt";
  const auto outcome = opened->peer->run(request);
  ASSERT_TRUE(outcome);
  ASSERT_TRUE(outcome->run) << outcome->failure;
  EXPECT_EQ(outcome->run->result.arithmetic, "");
  EXPECT_THAT(read_file(request.output_file, 10000).value(),
              HasSubstr("--model m.gguf --tokenizer  --prompt -Hello {out} --max-tokens 1 --threads 4 --out "));

  ASSERT_TRUE(open(spec()));
  EXPECT_EQ(n_builds_, 1);
  // A library that was built again needs an adapter of its own.
  ASSERT_TRUE(write_file(tree_ / "build/bin/libllama.so", "another"));
  ASSERT_TRUE(open(spec()));
  EXPECT_EQ(n_builds_, 2);
  ASSERT_TRUE(write_file(tree_ / "3rdparty/llama.cpp/include/llama.h", "// another"));
  ASSERT_TRUE(open(spec()));
  EXPECT_EQ(n_builds_, 3);
  ASSERT_TRUE(write_file(folder_.path() / "libtern.a", "another"));
  ASSERT_TRUE(open(spec()));
  EXPECT_EQ(n_builds_, 4);
}

TEST_F(LiveEngineTest, SettingsReachTheEngineAndItsProvenance) {
  options_.settings = {"flash_attention=on", "threads=3", "ubatch=64"};
  const auto opened = open(spec());
  ASSERT_TRUE(opened) << opened.error().line();
  EXPECT_EQ(to_json_line(opened->details["settings"]), R"({"flash_attention":"on","threads":"3","ubatch":"64"})");
  EXPECT_THAT(opened->details["engine"]["asked"].get<std::string>(), HasSubstr("--setting flash_attention=on"));
  EXPECT_TRUE(opened->peer->abilities().token_ids);
  EXPECT_FALSE(opened->peer->abilities().teacher_tokens);
  RunRequest request;
  request.model = "m.gguf";
  request.prompt = "Hello";
  request.threads = 4;
  EXPECT_EQ(opened->peer->usual_threads(request), 3);
  request.run_folder = folder_.path() / "run";
  request.output_file = folder_.path() / "output.txt";
  ASSERT_TRUE(opened->peer->run(request));
  EXPECT_THAT(read_file(request.output_file, 10000).value(), HasSubstr("--threads 3 --out "));
  EXPECT_THAT(read_file(request.output_file, 10000).value(), HasSubstr("--setting flash_attention=on --ubatch 64"));
}

TEST_F(LiveEngineTest, ASettingThatItDoesNotHaveNamesTheNearest) {
  const std::pair<const char*, const char*> wrong[] = {
      {"flash_atention=on", "did you mean 'flash_attention'? it has flash_attention (off, on), threads (1 to 8)"},
      {"flash_attention=om", "'om' is no value of flash_attention (did you mean 'on'? its values: off, on)"},
      {"threads=9", "'9' is no value of threads (its values: 1 to 8)"},
      {"threads=2x", "'2x' is no value of threads"},
      {"threads", "is not of the form KEY=VALUE"},
  };
  for (const auto& [setting, message] : wrong) {
    options_.settings = {setting};
    const auto opened = open(spec());
    ASSERT_FALSE(opened) << setting;
    EXPECT_EQ(exit_code(opened.error().code), 2) << setting;
    EXPECT_THAT(opened.error().line(), HasSubstr(message));
    EXPECT_THAT(opened.error().line(), HasSubstr("--reference-option"));
  }
}

TEST_F(LiveEngineTest, AClaimedArithmeticIsPassedOnAndDoubtedWhereItCannotBe) {
  options_.arithmetic = "bitnet.cpp-x86-64";
  const auto opened = open(spec());
  ASSERT_TRUE(opened) << opened.error().line();
  EXPECT_EQ(opened->details["arithmetic"], "bitnet.cpp-x86-64");
  EXPECT_THAT(opened->note, HasSubstr("compiled for AVX-512"));
}

TEST_F(LiveEngineTest, WhatTheCompilerSaysIsTold) {
  write_compiler(
      "#!/bin/sh\necho 'In file included from x'; echo 'a.cc:1: error: no llama here'; echo 'note: y'; exit 1\n");
  const auto opened = open(spec());
  ASSERT_FALSE(opened);
  EXPECT_EQ(exit_code(opened.error().code), 4);
  EXPECT_THAT(opened.error().line(), HasSubstr("cannot be built: a.cc:1: error: no llama here"));
  EXPECT_THAT(opened.error().line(), HasSubstr("build.log"));
}

TEST_F(LiveEngineTest, WhatIsMissingIsTold) {
  options_.recipe.compiler = "no-such-compiler";
  auto opened = open(spec());
  ASSERT_FALSE(opened);
  EXPECT_EQ(exit_code(opened.error().code), 4);
  EXPECT_THAT(opened.error().line(), HasSubstr("no C++ compiler: looked for no-such-compiler"));
  options_.recipe.options = "/no/options.rsp";
  opened = open(spec());
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().line(), HasSubstr("/no/options.rsp: is missing"));
}

TEST_F(LiveEngineTest, AProgramThatCannotRunIsAnError) {
  write_compiler(
      "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\n"
      "printf '#!/bin/sh\\necho libgomp.so.1: cannot open\\nexit 127\\n' > \"$2\"; chmod +x \"$2\"\n");
  const auto opened = open(spec());
  ASSERT_FALSE(opened);
  EXPECT_EQ(exit_code(opened.error().code), 4);
  EXPECT_THAT(opened.error().line(), HasSubstr("cannot run: libgomp.so.1: cannot open"));
}

TEST_F(LiveEngineTest, AutoTakesATreeButATreeThatIsNotBuiltOnlyGetsANote) {
  options_.bitnet_cpp_dir = tree_;
  for (const bool is_set : {true, false}) {
    options_.bitnet_cpp_dir_is_set = is_set;
    const auto opened = open("auto");
    ASSERT_TRUE(opened) << opened.error().line();
    EXPECT_EQ(opened->kind, "bitnet.cpp");
    EXPECT_THAT(opened->note, IsEmpty());
  }
  fs::remove_all(tree_ / "build");
  for (const bool is_set : {true, false}) {
    options_.bitnet_cpp_dir_is_set = is_set;
    const auto opened = open("auto");
    ASSERT_TRUE(opened) << opened.error().line();
    EXPECT_EQ(opened->kind, "none");
    EXPECT_FALSE(opened->peer);
    EXPECT_THAT(opened->note, HasSubstr("no libllama.so"));
    EXPECT_THAT(opened->note, HasSubstr("no pack beside the model"));
  }
  EXPECT_FALSE(open(spec()));
}

}  // namespace
}  // namespace tern::peer
