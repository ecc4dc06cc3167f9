#include "tern/peer/peer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/peer/engine_registry.h"
#include "tern/peer/open_engine.h"

namespace tern::peer {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(TokenIdsInOutput, TakesTheLastLineWithTheLabel) {
  const std::string label = "Generated tokens:";
  EXPECT_THAT(token_ids_in_output("x\nGenerated tokens: [1, 2,3]\ny", label), testing::Optional(ElementsAre(1, 2, 3)));
  EXPECT_THAT(token_ids_in_output("Generated tokens: []", label), testing::Optional(IsEmpty()));
  EXPECT_THAT(token_ids_in_output("Generated tokens: [1]\nGenerated tokens: [2]\n", label),
              testing::Optional(ElementsAre(2)));
  for (const std::string text : {"", "\n", "Generated tokens:", "Generated tokens: 1", "Generated tokens: [1",
                                 "Generated tokens: [1 2]", "Generated tokens: [-1]", "Generated tokens: [a]",
                                 "Generated tokens: [99999999999]", "> Generated tokens: [1]"}) {
    EXPECT_EQ(token_ids_in_output(text, label), std::nullopt) << text;
  }
}

// A stand-in engine: a shell script with the placeholders of --reference command:.
class CommandPeerTest : public testing::Test {
 protected:
  PeerRun run(const std::string& script, const std::string& arguments = "{out} {trace_dir} {prompt}") {
    EXPECT_TRUE(write_file(folder_.path() / "engine.sh", script));
    auto command =
        CommandTemplate::parse("sh " + (folder_.path() / "engine.sh").string() + " " + arguments, "", settings_);
    EXPECT_TRUE(command);
    RunRequest request = request_;
    request.model = "m.gguf";
    request.tokenizer = "t.json";
    request.prompt = "Hello";
    request.max_tokens = 2;
    request.timeout_s = timeout_s_;
    request.run_folder = folder_.path() / "rs-run";
    request.trace_folder = folder_.path() / "rs-traces";
    request.output_file = folder_.path() / "rs-output.txt";
    const auto peer = make_command_peer(std::move(*command), "stand-in", by_option_, settings_);
    abilities_ = peer->abilities();
    auto outcome = peer->run(request);
    EXPECT_TRUE(outcome) << outcome.error().line();
    return std::move(*outcome);
  }
  std::string output() const { return read_file(folder_.path() / "rs-output.txt", 10000).value(); }
  std::string result_json() const {
    return R"({"engine":"e","prompt":"Hello","max_tokens":2,"prompt_tokens":[5],"generated_tokens":[7,8],"timing":{}})";
  }
  static std::string record(const std::string& name, const std::string& stage, int layer) {
    return "{\"name\":\"" + name + "\",\"seq\":0,\"layer\":" + std::to_string(layer) + ",\"stage\":\"" + stage +
           R"(","shape":[1,2],"dtype":"F32","rms":1.0,"num_elements":2,"blake3":")" + std::string(64, 'a') + "\"}";
  }

  test::TemporaryFolder folder_;
  double timeout_s_ = 20;
  RunRequest request_;  // what a test adds to the plain one
  Abilities by_option_{.runs = true};
  Settings settings_;
  Abilities abilities_;
};

TEST_F(CommandPeerTest, TakesTheWholeContract) {
  const PeerRun outcome = run("echo \"$3\"; echo '" + result_json() + "' > $1/result.json; echo '" +
                              record("embeddings", "embeddings", -1) + "' > $2/embeddings.trace; echo '" +
                              record("blk0/attn_norm", "attn_norm", 0) + "' > $2/blk0_attn_norm.trace");
  ASSERT_TRUE(outcome.run) << outcome.failure;
  EXPECT_THAT(outcome.run->result.generated_tokens, ElementsAre(7, 8));
  EXPECT_EQ(outcome.n_traces, 2U);
  ASSERT_EQ(outcome.run->trace.size(), 2U);
  EXPECT_EQ(outcome.run->trace[1].id.name(), "blk0/attn_norm");
  EXPECT_EQ(read_file(folder_.path() / "rs-output.txt", 100).value(), "Hello\n");
  EXPECT_EQ(outcome.environment.at("BITNET_SEED"), "42");
  // rs-run alone is an engine-contract folder again.
  const auto again = trace::read_run_folder(folder_.path() / "rs-run");
  ASSERT_TRUE(again) << again.error().line();
  EXPECT_EQ(again->trace.size(), 2U);
}

TEST_F(CommandPeerTest, TracesInTheRunFolderCountToo) {
  const PeerRun outcome = run("echo '" + result_json() + "' > $1/result.json; echo '" +
                              record("embeddings", "embeddings", -1) + "' > $1/trace.jsonl");
  ASSERT_TRUE(outcome.run) << outcome.failure;
  EXPECT_EQ(outcome.n_traces, 1U);
  EXPECT_TRUE(fs::exists(folder_.path() / "rs-traces" / "embeddings.trace"));
}

TEST_F(CommandPeerTest, AListInTheTraceFolderCountsTooAndStagesMayHaveAnyName) {
  for (const char* const place : {"$1", "$2"}) {
    const PeerRun outcome =
        run("echo '" + result_json() + "' > $1/result.json; echo '" + record("embeddings", "embeddings", -1) + "\n" +
            record("mystery", "mystery", -1) + "' > " + place + "/trace.jsonl");
    ASSERT_TRUE(outcome.run) << outcome.failure;
    ASSERT_EQ(outcome.run->trace.size(), 2U);
    EXPECT_EQ(outcome.run->trace[1].id.name(), "mystery");
    EXPECT_TRUE(fs::exists(folder_.path() / "rs-traces" / "mystery.trace"));
    EXPECT_TRUE(fs::exists(folder_.path() / "rs-traces" / "embeddings.trace"));
    EXPECT_FALSE(fs::exists(folder_.path() / "rs-traces" / "trace.jsonl"));
    fs::remove_all(folder_.path() / "rs-run");
    fs::remove_all(folder_.path() / "rs-traces");
  }
}

TEST_F(CommandPeerTest, AFifoIsNotWaitedFor) {
  EXPECT_THAT(run("mkfifo $1/result.json").failure, HasSubstr("result.json: is not a regular file"));
  fs::remove_all(folder_.path() / "rs-run");
  EXPECT_THAT(run("echo '" + result_json() + "' > $1/result.json; mkfifo $2/embeddings.trace").failure,
              HasSubstr("embeddings.trace: is not a regular file"));
}

TEST_F(CommandPeerTest, TheirsCanBeAskedForWhatItHasPlacesFor) {
  request_.token_ids = {5};
  request_.teacher_tokens = {7};
  const std::string writes =
      "echo \"ids $2 teacher $3 prompt $4\"; echo '{\"engine\":\"e\",\"prompt\":\"\","
      "\"max_tokens\":2,\"prompt_tokens\":[5],\"generated_tokens\":[7,8],\"teacher_tokens\":['$3']}' > $1/result.json";
  const PeerRun outcome = run(writes, "{out} {token_ids} {teacher_tokens} {prompt}");
  ASSERT_TRUE(outcome.run) << outcome.failure;
  EXPECT_THAT(outcome.run->result.teacher_tokens, ElementsAre(7));
  EXPECT_EQ(output(), "ids 5 teacher 7 prompt Hello\n");
  EXPECT_TRUE(abilities_.runs && abilities_.token_ids && abilities_.teacher_tokens);
  EXPECT_FALSE(abilities_.unobserved || abilities_.token_by_token || abilities_.dump_tensors);
}

TEST_F(CommandPeerTest, MoreThanItsAbilitiesIsAFailure) {
  request_.token_ids = {5};
  EXPECT_THAT(run("exit 9").failure, HasSubstr("cannot be given a prompt's token ids"));
  EXPECT_FALSE(abilities_.token_ids || abilities_.teacher_tokens);
  request_ = {};
  request_.teacher_tokens = {5};
  EXPECT_THAT(run("exit 9").failure, HasSubstr("takes no tokens to go on with"));
  request_ = {};
  request_.observe = false;
  EXPECT_THAT(run("exit 9").failure, HasSubstr("without its tensors being watched"));
  request_ = {};
  EXPECT_THAT(run("exit 9", "{token_ids}").failure, HasSubstr("cannot be given a text"));
}

TEST_F(CommandPeerTest, AnEngineThatSpeaksTheContractTakesIdsInsteadOfThePrompt) {
  request_.token_ids = {5, 6};
  const PeerRun outcome = run("echo \"$@\"; exit 9", "");
  EXPECT_THAT(output(), HasSubstr("--tokenizer t.json --token-ids 5,6 --max-tokens 2"));
  EXPECT_TRUE(abilities_.token_ids);
  EXPECT_FALSE(abilities_.teacher_tokens);
}

TEST_F(CommandPeerTest, OursTakesOurOptions) {
  by_option_ = all_abilities();
  run("echo \"$@\"; exit 9", "--prompt={prompt} --out {out}");
  EXPECT_THAT(output(), testing::StartsWith("--prompt=Hello --out /"));
  EXPECT_THAT(output(), testing::Not(HasSubstr("--teacher-tokens")));
  request_.token_ids = {5, 6};
  request_.teacher_tokens = {7, 8};
  request_.observe = false;
  request_.token_by_token = request_.dump_tensors = true;
  run("echo \"$@\"; exit 9", "--prompt={prompt} --out {out}");
  EXPECT_THAT(output(), testing::StartsWith("--token-ids 5,6 --out /"));
  EXPECT_THAT(output(), HasSubstr(" --teacher-tokens 7,8 --no-observe --token-by-token --dump-tensors\n"));
  EXPECT_TRUE(abilities_.unobserved && abilities_.token_by_token && abilities_.dump_tensors);
}

TEST_F(CommandPeerTest, SettingsFillPlacesAndReplaceTheRunsThreads) {
  settings_ = {{"threads", "3"}, {"mode", "slow"}};
  run("echo \"$@\"; exit 9", "{mode} {threads}");
  EXPECT_EQ(output(), "slow 3\n");
  request_.other_threads = 7;
  run("echo \"$@\"; exit 9", "{threads}");
  EXPECT_EQ(output(), "7\n");
}

TEST_F(CommandPeerTest, StagesAreTheKnownOnesUnlessAllAreAskedFor) {
  run("echo \"$@\"; exit 9", "{stages}");
  EXPECT_EQ(output(), "known\n");
  request_.all_stages = true;
  run("echo \"$@\"; exit 9", "{stages}");
  EXPECT_EQ(output(), "all\n");
}

TEST_F(CommandPeerTest, AnEngineThatIgnoresWhatItIsToldFails) {
  by_option_ = all_abilities();
  request_.teacher_tokens = {7};
  const std::string obeys_nothing = "echo '" + result_json() + "' > $1/result.json";
  EXPECT_THAT(run(obeys_nothing).failure, HasSubstr("states no teacher_tokens: it went on with its own tokens"));
  request_ = {};
  request_.token_ids = {6};
  EXPECT_THAT(run(obeys_nothing).failure, HasSubstr("states prompt_tokens [5], where [6] were given"));
}

TEST_F(CommandPeerTest, PromptIdsThatAreNotPrintedAreNotKnown) {
  const PeerRun outcome = run("echo 'Generated tokens: [7, 8]'", "{prompt}");
  ASSERT_TRUE(outcome.run) << outcome.failure;
  EXPECT_THAT(outcome.run->result.prompt_tokens, IsEmpty());
}

TEST_F(CommandPeerTest, TheSmallFormIsALineAndATraceFolder) {
  const PeerRun outcome = run("echo 'Prompt tokens: [5]'; echo 'Generated tokens: [7, 8]'; echo '" +
                                  record("embeddings", "embeddings", -1) + "' > $BITNET_TRACE_DIR/embeddings.trace",
                              "{prompt}");
  ASSERT_TRUE(outcome.run) << outcome.failure;
  EXPECT_THAT(outcome.run->result.prompt_tokens, ElementsAre(5));
  EXPECT_THAT(outcome.run->result.generated_tokens, ElementsAre(7, 8));
  EXPECT_EQ(outcome.run->result.engine, "stand-in");
  EXPECT_EQ(outcome.run->trace.size(), 1U);
}

TEST_F(CommandPeerTest, FailuresAreSentences) {
  EXPECT_THAT(run("echo oops >&2; exit 9").failure, "ended with exit code 9: oops");
}
TEST_F(CommandPeerTest, ACrashIsNamed) { EXPECT_EQ(run("kill -SEGV $$").failure, "was killed by SIGSEGV (signal 11)"); }
TEST_F(CommandPeerTest, NoResultIsAFailure) { EXPECT_THAT(run("true").failure, HasSubstr("result.json")); }
TEST_F(CommandPeerTest, NoLineIsAFailure) {
  EXPECT_THAT(run("true", "{prompt}").failure, HasSubstr("no line \"Generated tokens:"));
}
TEST_F(CommandPeerTest, ADamagedTraceIsAFailure) {
  EXPECT_THAT(run("echo '" + result_json() + "' > $1/result.json; echo '{' > $2/embeddings.trace").failure,
              HasSubstr("embeddings.trace"));
}

TEST_F(CommandPeerTest, ATimeOutNamesTheLastTensorEvenOfAnEngineThatTidiesUp) {
  timeout_s_ = 0.4;
  const PeerRun outcome =
      run("trap 'rm -f '$2'/*.trace; exit 1' TERM; echo '" + record("blk0/attn_norm", "attn_norm", 0) +
          "' > $2/blk0_attn_norm.trace; while :; do sleep 0.02; done");
  EXPECT_EQ(outcome.failure, "timed out after 0.4 s");
  EXPECT_EQ(outcome.last_tensor, "blk0/attn_norm");
  EXPECT_FALSE(outcome.run);
}

TEST(CommandPeer, AMissingProgramIsAFailureNotAnError) {
  const test::TemporaryFolder folder;
  RunRequest request;
  request.run_folder = folder.path() / "r";
  request.trace_folder = folder.path() / "t";
  request.output_file = folder.path() / "o.txt";
  const auto outcome = make_command_peer(CommandTemplate({"/no/such/engine"}), "e")->run(request);
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome->failure, HasSubstr("cannot be started"));
  EXPECT_FALSE(outcome->process);
}

// A pack of the recordings of bitnet.cpp, beside a file that stands for its model.
class PackPeerTest : public testing::Test {
 protected:
  void SetUp() override {
    model_ = folder_.path() / "model.gguf";
    ASSERT_TRUE(write_file(model_, "the model"));
    sha256_ = sha256_of_file(model_).value();
    subject_ = {model_, sha256_, "tokenizer-sha", true};
    make_pack(pack_beside(model_));
  }
  void make_pack(const fs::path& where) {
    const fs::path golden = test::golden_dir() / "tiny-i2_s";
    const auto pack = trace::Pack::create(where, {"model.gguf", sha256_, "tokenizer-sha"}, "bitnet.cpp-x86-64",
                                          {{"name", "bitnet.cpp"}}, {golden / "scenario1", golden / "scenario2"});
    ASSERT_TRUE(pack) << pack.error().line();
  }
  Result<OpenedEngine> open(const std::string& spec, bool allow = false) {
    OpenOptions options;
    options.allow_model_mismatch = allow;
    options.bitnet_cpp_dir = cpp_dir_;
    options.bitnet_cpp_dir_is_set = cpp_dir_is_set_;
    const EngineRegistry engines =
        EngineRegistry::load({{test::source_dir() / "adapters"}, {}, {}, "c++", folder_.path() / "cache"});
    options.recipe.cache = folder_.path() / "cache";
    return engines.open(engines.parse(spec, "--reference").value(), subject_, options);
  }

  test::TemporaryFolder folder_;
  fs::path model_, cpp_dir_;
  bool cpp_dir_is_set_ = false;
  std::string sha256_;
  Subject subject_;
};

TEST_F(PackPeerTest, AutoFindsItBesideTheModel) {
  const auto opened = open("auto");
  ASSERT_TRUE(opened) << opened.error().line();
  ASSERT_TRUE(opened->peer);
  EXPECT_EQ(opened->kind, "pack");
  EXPECT_EQ(opened->engine, "bitnet.cpp");
  EXPECT_THAT(opened->note, IsEmpty());
}

TEST_F(PackPeerTest, AutoSaysWhyThereIsNone) {
  subject_.model = folder_.path() / "elsewhere" / "model.gguf";
  cpp_dir_ = folder_.path();
  const auto opened = open("auto");
  ASSERT_TRUE(opened);
  EXPECT_FALSE(opened->peer);
  EXPECT_THAT(opened->note, HasSubstr("no pack beside the model"));
  EXPECT_THAT(opened->note, HasSubstr("is no bitnet.cpp tree"));
}

TEST_F(PackPeerTest, AutoPassesByAPackOfAnotherModelAndSaysSo) {
  subject_.model_sha256 = std::string(64, '0');
  const auto opened = open("auto");
  ASSERT_TRUE(opened);
  EXPECT_FALSE(opened->peer);
  EXPECT_THAT(opened->note, HasSubstr("belongs to another model"));
}

TEST_F(PackPeerTest, AutoDoesNotPassByADamagedPack) {
  ASSERT_TRUE(write_file(pack_beside(model_) / "scenario1" / "trace.jsonl", "{}"));
  const auto opened = open("auto");
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().line(), HasSubstr("trace.jsonl"));
}

TEST_F(PackPeerTest, OneOfAnotherModelIsRefusedUnlessAllowed) {
  subject_.model_sha256 = std::string(64, '0');
  const std::string spec = "pack:" + pack_beside(model_).string();
  const auto refused = open(spec);
  ASSERT_FALSE(refused);
  EXPECT_EQ(exit_code(refused.error().code), 3);
  EXPECT_THAT(refused.error().line(), HasSubstr(pack_beside(model_).string()));
  EXPECT_THAT(refused.error().line(), HasSubstr(sha256_));
  EXPECT_THAT(refused.error().line(), HasSubstr(subject_.model_sha256));
  const auto allowed = open(spec, true);
  ASSERT_TRUE(allowed);
  EXPECT_TRUE(allowed->peer);
  EXPECT_THAT(allowed->note, HasSubstr("overridden"));
}

TEST_F(PackPeerTest, OneOfAnotherTokenizerIsRefusedButAGgufVocabularyCannotTell) {
  const std::string spec = "pack:" + pack_beside(model_).string();
  subject_.tokenizer_sha256 = "another";
  const auto refused = open(spec);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().line(), HasSubstr("belongs to another tokenizer"));
  subject_.tokenizer_is_json = false;
  EXPECT_TRUE(open(spec));
}

TEST_F(PackPeerTest, AutoSaysWhenItStandsInForATreeThatCannotBeUsed) {
  cpp_dir_ = folder_.path() / "no-tree";
  EXPECT_THAT(open("auto")->note, IsEmpty());
  cpp_dir_is_set_ = true;
  const auto opened = open("auto");
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->kind, "pack");
  EXPECT_THAT(opened->note, HasSubstr("BITNET_CPP_DIR cannot be used"));
  EXPECT_THAT(opened->note, HasSubstr("no-tree: there is no such folder"));
  EXPECT_THAT(opened->note, HasSubstr("the pack beside the model is used"));
}

TEST_F(PackPeerTest, ItsRecordingIsWrittenOutLikeARun) {
  const auto opened = open("auto");
  RunRequest request;
  request.prompt = "Hello";
  request.max_tokens = 2;
  request.run_folder = folder_.path() / "cpp-run";
  request.trace_folder = folder_.path() / "cpp-traces";
  request.output_file = folder_.path() / "cpp-output.txt";
  const auto outcome = opened->peer->run(request);
  ASSERT_TRUE(outcome) << outcome.error().line();
  ASSERT_TRUE(outcome->run) << outcome->failure;
  EXPECT_EQ(outcome->n_traces, 150U);
  EXPECT_EQ(outcome->run->result.arithmetic, "bitnet.cpp-x86-64");
  const std::string output = read_file(request.output_file, 10000).value();
  EXPECT_THAT(output, HasSubstr("Recording of bitnet.cpp"));
  EXPECT_EQ(token_ids_in_output(output, "Generated tokens:"), outcome->run->result.generated_tokens);
  const auto traces = trace::read_trace_folder(request.trace_folder);
  ASSERT_TRUE(traces);
  EXPECT_EQ(traces->size(), 150U);
}

TEST_F(PackPeerTest, IsFoundByTokenIdsAndCannotBeToldAnything) {
  const auto opened = open("auto");
  ASSERT_TRUE(opened && opened->peer);
  const Abilities abilities = opened->peer->abilities();
  EXPECT_TRUE(abilities.token_ids);
  EXPECT_FALSE(abilities.runs || abilities.teacher_tokens || abilities.unobserved || abilities.token_by_token);
  RunRequest request;
  const auto recorded = trace::read_run_folder(test::golden_dir() / "tiny-i2_s" / "scenario2");
  request.token_ids = recorded->result.prompt_tokens;
  request.max_tokens = 2;
  request.trace_folder = folder_.path() / "traces";
  request.output_file = folder_.path() / "output.txt";
  auto outcome = opened->peer->run(request);
  ASSERT_TRUE(outcome);
  ASSERT_TRUE(outcome->run) << outcome->failure;
  EXPECT_EQ(outcome->run->result.generated_tokens, recorded->result.generated_tokens);
  request.token_ids.push_back(1);
  outcome = opened->peer->run(request);
  ASSERT_TRUE(outcome);
  EXPECT_TRUE(outcome->no_recording);
  request.teacher_tokens = {1};
  outcome = opened->peer->run(request);
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->run || outcome->no_recording);
  EXPECT_THAT(outcome->failure, HasSubstr("is a recording and takes no tokens"));
}

TEST_F(PackPeerTest, WhatItDoesNotHoldIsNoRecording) {
  const auto opened = open("auto");
  RunRequest request;
  request.prompt = "Something else";
  request.output_file = folder_.path() / "cpp-output.txt";
  const auto outcome = opened->peer->run(request);
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->run);
  EXPECT_TRUE(outcome->no_recording);
  EXPECT_THAT(outcome->failure, HasSubstr("Something else"));
}

}  // namespace
}  // namespace tern::peer
