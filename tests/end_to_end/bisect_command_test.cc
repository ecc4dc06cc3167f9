// `tern bisect` through the binary, on engines of which it is known what made them wrong: shell scripts that call the
// oracle, in repositories made for the test, with settings that spoil it, and on models with one weight changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/json.h"
#include "tern/gguf/view.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using test::Ended;
using testing::HasSubstr;

class BisectCommand : public testing::Test {
 protected:
  BisectCommand() : temporary_(folder_.path() / "tmp"), repository_(folder_.path() / "the repo") {
    EXPECT_TRUE(create_folder(temporary_));
  }
  // Whatever ended it, nothing stays.
  ~BisectCommand() override { EXPECT_TRUE(fs::is_empty(temporary_)) << fs::directory_iterator(temporary_)->path(); }

  std::map<std::string, std::string> environment() const { return {{"TMPDIR", temporary_.string()}}; }
  Ended bisect(std::vector<std::string> arguments, const fs::path& in = {}) const {
    arguments.insert(arguments.begin(), "bisect");
    ChildCommand command = test::tern_command(std::move(arguments), environment());
    command.working_dir = in;
    return test::run_program(command);
  }
  // stdout alone, as JSON.
  Json bisect_json(std::vector<std::string> arguments) const {
    const fs::path out = folder_.path() / "stdout.json";
    std::vector<std::string> words = {"sh",    "-c", "\"$@\" > \"$0\"", out.string(), test::tern_binary().string(),
                                      "bisect"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    words.emplace_back("--json");
    ChildCommand command;
    command.argv = words;
    command.environment = environment();
    const Ended ended = test::run_program(command);
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    const auto json = read_json_file(out);
    EXPECT_TRUE(json) << ended.output;
    return json ? *json : Json();
  }

  Ended shell(const std::string& line) const {
    ChildCommand command;
    command.argv = {"sh", "-c", line};
    command.working_dir = repository_;
    command.environment = environment();
    command.unset_environment = {"GIT_*"};
    const Ended ended = test::run_program(command);
    EXPECT_EQ(ended.exit_code, 0) << line << ": " << ended.output;
    return ended;
  }

  // An engine that computes right, or with a fault.
  static std::string engine(const std::string& fault = "") {
    return "exec " + test::tern_binary().string() + " run --ignore-eos --engine oracle " +
           (fault.empty() ? "" : "--fault " + fault) + " \"$@\"\n";
  }
  // Commits named c1, c2, ... of these scripts; where there is none, of a commit that does not build.
  void make_repository(const std::vector<std::string>& engines) {
    ASSERT_TRUE(create_folder(repository_));
    shell("git init -q . && git config user.name tester && git config user.email tester@example.org");
    for (size_t i = 0; i < engines.size(); ++i) {
      const std::string name = "c" + std::to_string(i + 1);
      ASSERT_TRUE(write_file(repository_ / "engine.in", engines[i] + "# " + name + "\n"));
      ASSERT_TRUE(write_file(repository_ / "build.sh",
                             engines[i].empty() ? "echo no compiler; exit 2\n" : "cp engine.in engine.sh\n"));
      shell("git add -A && git commit -qm 'commit " + name + "' && git tag " + name);
    }
  }
  std::vector<std::string> commits(const std::string& good, const std::string& bad) const {
    return {"commits",     "--repo",    repository_.string(),   "--good",  good,   "--bad",        bad, "--build",
            "sh build.sh", "--subject", "command:sh engine.sh", "--model", model_, "--max-tokens", "1"};
  }
  std::string id_of(const std::string& revision) const {
    std::string id = shell("git rev-parse " + revision).output;
    id.pop_back();
    return id;
  }

  test::TemporaryFolder folder_;
  fs::path temporary_, repository_;
  std::string model_ = test::bundled_model_dir() / "tern-tiny-i2_s.gguf";
};

// ---- commits

TEST_F(BisectCommand, NamesTheFirstBadCommit) {
  const std::string bad = engine("causal_mask");
  make_repository({engine(), engine(), "", engine(), engine(), bad, bad, bad});
  shell("git checkout -q -b mine c2 && echo mine > unsaved");
  const Json found = bisect_json(commits("c1", "c8"));
  EXPECT_EQ(found["first_bad"], id_of("c6"));
  EXPECT_THAT(found["first_divergence"].get<std::string>(), HasSubstr("attn_scores_softmax"));
  EXPECT_GE(found["tried"].size(), 5U);
  // The user's checkout is as it was, and nothing of the search is left.
  EXPECT_EQ(shell("git status --short --branch && git log -1 --format=%s").output, "## mine\n?? unsaved\ncommit c2\n");
  EXPECT_EQ(shell("git worktree list | wc -l").output, "1\n");
  EXPECT_EQ(shell("git for-each-ref refs/bisect").output, "");

  const Ended text = bisect(commits("c4", "c7"));
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.output, HasSubstr("first bad commit:\n" + id_of("c6")));
  EXPECT_THAT(text.output, HasSubstr("commit c6"));
  EXPECT_THAT(text.output, HasSubstr("attn_scores_softmax"));
}

TEST_F(BisectCommand, CommitsThatCannotBeTestedAreNotBlamed) {
  make_repository({engine(), "", "kill -SEGV $$\n", engine("causal_mask")});
  const Ended ended = bisect(commits("c1", "c4"));
  EXPECT_EQ(ended.exit_code, 5) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("the first bad commit is one of these"));
  for (const char* commit : {"c2", "c3", "c4"}) {
    EXPECT_THAT(ended.output, HasSubstr(id_of(commit)));
  }
  EXPECT_THAT(ended.output, HasSubstr("the build failed with exit code 2"));
  auto crash = commits("c1", "c4");
  crash.insert(crash.end(), {"--crash-is", "bad"});
  const Ended ambiguous = bisect(crash);  // c2 still does not build
  EXPECT_EQ(ambiguous.exit_code, 5);
  EXPECT_THAT(ambiguous.output, testing::Not(HasSubstr(id_of("c4") + "\n  tester")));
}

TEST_F(BisectCommand, WrongEndsAreNoBadCommit) {
  make_repository({engine(), engine(), engine("causal_mask")});
  const struct {
    std::vector<std::string> words;
    int exit_code;
    std::string message;
  } cases[] = {
      {commits("c1", "c2"), 5, "the bad commit: is good"},
      {commits("c1", "nowhere"), 2, "--bad nowhere: is no commit of the repository"},
      {commits("c1", "--orphan"), 2, ""},
      {{"commits", "--good", "c1", "--bad", "c3", "--repo", "/nonexistent", "--subject", "command:x", "--model",
        model_},
       3,
       "/nonexistent"},
      {{"commits", "--good", "c1", "--bad", "c3", "--subject", "auto", "--model", model_}, 2, "does not depend on"},
      {{"commits", "--good", "c1", "--bad", "c3", "--subject", "command:x", "--model", "/no.gguf"}, 3, "/no.gguf"},
  };
  for (const auto& one : cases) {
    const Ended ended = bisect(one.words);
    EXPECT_EQ(ended.exit_code, one.exit_code) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr(one.message));
  }
  EXPECT_EQ(shell("git worktree list | wc -l").output, "1\n");
}

TEST_F(BisectCommand, CtrlCTakesTheWorktreeAndTheEngineAway) {
  const fs::path pid_file = folder_.path() / "pid";
  make_repository({"echo $$ > " + pid_file.string() + ".tmp; mv " + pid_file.string() + ".tmp " + pid_file.string() +
                       "; sleep 60\n",
                   engine()});
  std::vector<std::string> words = {"env", "TMPDIR=" + temporary_.string(), test::tern_binary().string(), "bisect"};
  const std::vector<std::string> more = commits("c1", "c2");
  words.insert(words.end(), more.begin(), more.end());
  std::vector<char*> argv;
  for (std::string& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  pid_t pid = 0;
  ASSERT_EQ(::posix_spawnp(&pid, "env", nullptr, nullptr, argv.data(), environ), 0);
  for (int i = 0; i < 2000 && !fs::exists(pid_file); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const pid_t engine_pid = std::stoi(read_file(pid_file, 100).value());
  ::kill(pid, SIGINT);
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 128 + SIGINT);
  EXPECT_EQ(::kill(engine_pid, 0), -1);
  EXPECT_EQ(shell("git worktree list | wc -l").output, "1\n");
}

// ---- step

TEST_F(BisectCommand, StepSpeaksToGit) {
  const std::string bad = engine("causal_mask");
  make_repository({engine(), "", engine(), bad, bad, bad});
  const std::vector<std::string> engine_words = {
      "step", "--subject", "command:sh engine.sh", "--build", "sh build.sh", "--model", model_};
  const auto step = [&](std::vector<std::string> more) {
    more.insert(more.begin(), engine_words.begin(), engine_words.end());
    return bisect(more, repository_);
  };
  const std::string pack = folder_.path() / "pack";
  shell("git checkout -q c1");
  EXPECT_EQ(step({"--record", pack}).exit_code, 0);
  EXPECT_EQ(step({"--reference", "pack:" + pack}).exit_code, 0);
  shell("git checkout -q c2");
  EXPECT_EQ(step({"--reference", "pack:" + pack}).exit_code, 125);
  shell("git checkout -q c6");
  const std::string report = folder_.path() / "verdict.json";
  EXPECT_EQ(step({"--reference", "pack:" + pack, "--report", report}).exit_code, 1);
  EXPECT_EQ(read_json_file(report)->at("verdict"), "bad");

  const std::string self = "'" + test::tern_binary().string() +
                           "' bisect step --subject 'command:sh engine.sh' "
                           "--build 'sh build.sh' --model '" +
                           model_ + "' --reference 'pack:" + pack + "'";
  EXPECT_THAT(shell("git bisect start c6 c1 && git bisect run " + self).output,
              HasSubstr(id_of("c4") + " is the first bad commit"));
}

TEST_F(BisectCommand, StepNeverBlamesACommitForWhatIsNotItsFault) {
  const std::string none = "command:/no/engine";
  const std::string crash = "command:sh -c 'kill -SEGV $$' x";
  const std::string right = "command:" + test::tern_binary().string() + " run --ignore-eos";
  const auto step = [&](const std::string& subject, std::vector<std::string> more) {
    more.insert(more.begin(), {"step", "--model", model_, "--subject", subject});
    return bisect(more).exit_code;
  };
  const std::string pack = "pack:" + (test::bundled_model_dir() / "reference").string();
  EXPECT_EQ(step(right, {"--reference", pack}), 0);
  EXPECT_EQ(step(none, {"--reference", pack}), 125);
  EXPECT_EQ(step(none, {"--reference", pack, "--crash-is", "bad"}), 125);
  EXPECT_EQ(step(crash, {"--reference", pack}), 125);
  EXPECT_EQ(step(crash, {"--reference", pack, "--crash-is", "bad"}), 1);
  EXPECT_EQ(step(right, {"--reference", "pack:/no/pack"}), 129);
  EXPECT_EQ(step(right, {"--reference", pack, "--prompt", "not recorded"}), 129);
  EXPECT_EQ(step(right, {"--reference", "command:false"}), 129);
  EXPECT_EQ(step(right, {}), 129);
  EXPECT_EQ(step(right, {"--refrence", pack}), 129);
  EXPECT_EQ(step("vllm:x", {"--reference", pack}), 129);
  EXPECT_EQ(bisect({"step"}).exit_code, 129);
  EXPECT_EQ(bisect({"step", "--help"}).exit_code, 0);
  EXPECT_EQ(bisect({"stop"}).exit_code, 2);
}

// ---- settings

TEST_F(BisectCommand, NamesTheSettingsThatNeedEachOther) {
  const fs::path script = folder_.path() / "engine.sh";
  ASSERT_TRUE(write_file(
      script, "[ \"$1\" = fast ] && [ \"$B\" = 1 ] && shift && " + engine("causal_mask") + "shift\n" + engine()));
  const std::vector<std::string> arguments = {"settings",
                                              "--max-tokens",
                                              "1",
                                              "--model",
                                              model_,
                                              "--subject",
                                              "command:sh " + script.string() +
                                                  " {mode} --model {model} --prompt {prompt} "
                                                  "--max-tokens {max_tokens} --out {out}",
                                              "--set",
                                              "A=0,1",
                                              "--set",
                                              "mode=slow,fast",
                                              "--set",
                                              "threads=1,2",
                                              "--set",
                                              "B=,1"};
  const Json found = bisect_json(arguments);
  EXPECT_EQ(found["changes"], Json::parse(R"([{"name": "mode", "good": "slow", "bad": "fast"},
                                              {"name": "B", "good": "", "bad": "1"}])"));
  EXPECT_THAT(found["first_divergence"].get<std::string>(), HasSubstr("attn_scores_softmax"));
  const Ended text = bisect(arguments);
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.output, HasSubstr("2 of 4 settings make it bad together"));
  EXPECT_THAT(text.output, HasSubstr("  mode: 'slow' -> 'fast'\n  B: '' -> '1'\n"));
}

TEST_F(BisectCommand, SettingsThatChangeNothingAreSaidToBeGood) {
  const Ended same = bisect({"settings", "--model", model_, "--set", "threads=1,2", "--set", "TERN_ISA=scalar,"});
  EXPECT_EQ(same.exit_code, 5) << same.output;
  EXPECT_THAT(same.output, HasSubstr("the bad end: is good, so there is nothing to find"));
  for (const char* wrong : {"A", "A=1", "A=1,2,3", "A=1,1", "=1,2", "a-b=1,2", "RAYON_NUM_THREADS=1,2", "prompt=a,b"}) {
    const Ended ended = bisect({"settings", "--model", model_, "--set", wrong});
    EXPECT_EQ(ended.exit_code, 2) << wrong << ended.output;
    EXPECT_THAT(ended.output, HasSubstr(wrong));
  }
  EXPECT_EQ(bisect({"settings", "--set", "A=1,2"}).exit_code, 2);
  EXPECT_EQ(bisect({"settings", "--set", "A=1,2", "--model", "/no.gguf"}).exit_code, 3);
}

// ---- models

// A copy in which one ternary weight of this tensor, and the model's name, differ.
fs::path changed_copy(const fs::path& model, const fs::path& copy, const std::string& tensor_name) {
  auto bytes = read_file(model, uint64_t{1} << 30);
  EXPECT_TRUE(bytes);
  const auto view = gguf::View::open(model);
  EXPECT_TRUE(view);
  const gguf::Tensor* tensor = view->find_tensor(tensor_name);
  EXPECT_NE(tensor, nullptr);
  char& byte = (*bytes)[tensor->file_offset];
  const unsigned code = static_cast<unsigned char>(byte) >> 6;
  byte = static_cast<char>((static_cast<unsigned char>(byte) & 0x3f) | ((code + 1) % 3) << 6);
  const std::string_view name = view->get_string("general.name").value();
  (*bytes)[static_cast<size_t>(name.data() - reinterpret_cast<const char*>(view->bytes().data()))] ^= 1;
  EXPECT_TRUE(write_file(copy, *bytes));
  return copy;
}

TEST_F(BisectCommand, NamesTheTensorThatIsWrong) {
  const std::string bad = changed_copy(model_, folder_.path() / "bad.gguf", "blk.2.ffn_up.weight");
  const Json found = bisect_json({"models", model_, bad});
  ASSERT_EQ(found["changes"].size(), 1U) << found.dump();
  EXPECT_EQ(found["changes"][0]["kind"], "tensor");
  EXPECT_EQ(found["changes"][0]["name"], "blk.2.ffn_up.weight");
  EXPECT_EQ(found["changes"][0]["what"], "values");
  EXPECT_EQ(found["first_divergence"], "blk2/up_proj");
  EXPECT_EQ(found["differing"], 2);
  // The same by a recording of another engine, and by an engine of the user's.
  const std::string pack = "pack:" + (test::bundled_model_dir() / "reference").string();
  const std::string own = "command:" + test::tern_binary().string() + " run --ignore-eos";
  const Ended text = bisect({"models", model_, bad, "--reference", pack, "--subject", own});
  EXPECT_EQ(text.exit_code, 0) << text.output;
  EXPECT_THAT(text.output, HasSubstr("1 of the 2 tensors and keys that differ is enough to make the good model bad:\n"
                                     "  tensor blk.2.ffn_up.weight (values)\nfirst divergence: blk2/up_proj\n"));
}

TEST_F(BisectCommand, ModelsWithoutAWrongTensorAreSaidToBeAlike) {
  EXPECT_EQ(bisect({"models", model_, model_}).exit_code, 5);
  EXPECT_EQ(bisect({"models", model_, "/no.gguf"}).exit_code, 3);
  EXPECT_EQ(bisect({"models", model_}).exit_code, 2);
  const std::string bad = changed_copy(model_, folder_.path() / "bad.gguf", "blk.2.ffn_up.weight");
  const Ended tolerated = bisect({"models", model_, bad, "--tolerant"});
  EXPECT_EQ(tolerated.exit_code, 5) << tolerated.output;
  EXPECT_THAT(tolerated.output, HasSubstr("the bad end: is good"));
}

}  // namespace
}  // namespace tern
