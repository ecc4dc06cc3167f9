// The real binary on real files: models and recordings of bitnet.cpp.
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
using test::json_in;
using testing::HasSubstr;

Ended run(std::vector<std::string> argv, std::map<std::string, std::string> environment = {}, const fs::path& in = {}) {
  ChildCommand command;
  command.argv = std::move(argv);
  command.environment = std::move(environment);
  command.working_dir = in;
  command.timeout_s = 100;
  return test::run_program(command);
}

Ended tern(std::vector<std::string> arguments, std::map<std::string, std::string> environment = {},
           const fs::path& in = {}) {
  ChildCommand command = test::tern_command(std::move(arguments), std::move(environment));
  command.working_dir = in;
  return test::run_program(command);
}

size_t files_in(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

class SweepCommand : public testing::Test {
 protected:
  SweepCommand()
      : golden_(test::golden_dir()),
        model_((golden_ / "models" / "tiny-i2_s.gguf").string()),
        tokenizer_((golden_ / "models" / "tokenizer.json").string()),
        out_(folder_.path() / "out") {}

  std::string make_pack() {
    const fs::path pack = folder_.path() / "pack";
    const fs::path facts = folder_.path() / "facts.json";
    EXPECT_TRUE(write_file(facts, R"({"name": "bitnet.cpp", "compiler": "clang 19"})"));
    std::vector<std::string> arguments = {
        "pack",         "create",       "--model",           model_,  "--tokenizer", tokenizer_, "--engine-facts",
        facts.string(), "--arithmetic", "bitnet.cpp-x86-64", "--out", pack.string()};
    for (const char* name : {"scenario1", "scenario2", "scenario3"}) {
      arguments.push_back((golden_ / "tiny-i2_s" / name).string());
    }
    const Ended created = tern(arguments);
    EXPECT_EQ(created.exit_code, 0) << created.output;
    return "pack:" + pack.string();
  }

  std::vector<std::string> sweep_of(const std::string& model, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"sweep", model, tokenizer_, out_.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  test::TemporaryFolder folder_;
  fs::path golden_;
  std::string model_, tokenizer_;
  fs::path out_;
};

using SweepCommandDeep = SweepCommand;

TEST_F(SweepCommandDeep, AgainstARecordingOfBitnetCppIsInParity) {
  const Ended ended = tern(sweep_of(model_, {"--reference", make_pack(), "--require-reference"}));
  ASSERT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("[3/3] scenario3 ... ok"));
  EXPECT_THAT(ended.output, HasSubstr("summary.md"));
  const size_t n_traces[] = {75, 150, 300};
  for (int i = 1; i <= 3; ++i) {
    const fs::path scenario = out_ / ("scenario" + std::to_string(i));
    EXPECT_EQ(files_in(scenario / "rs-traces"), n_traces[i - 1]);
    EXPECT_EQ(files_in(scenario / "cpp-traces"), n_traces[i - 1]);
    const Json receipt = json_in(scenario / "logits-comparison.json");
    EXPECT_EQ(receipt["parity"]["status"], "ok");
    EXPECT_EQ(receipt["parity"]["cpp_available"], true);
    EXPECT_EQ(receipt["parity"]["exact_match_rate"], 1.0);
    EXPECT_GE(receipt["parity"]["cosine_similarity"].get<double>(), 0.999999);
    for (const char* name : {"rs-output.txt", "cpp-output.txt", "report.txt"}) {
      EXPECT_TRUE(fs::exists(scenario / name)) << name;
    }
    EXPECT_THAT(read_file(scenario / "rs-output.txt", 100000).value(), HasSubstr("Generated tokens: ["));
    EXPECT_THAT(read_file(scenario / "cpp-output.txt", 100000).value(), HasSubstr("Generated tokens: ["));
  }
  for (const char* name : {"summary.md", "sweep.json", "junit.xml"}) {
    EXPECT_TRUE(fs::exists(out_ / name)) << name;
  }
  // The subject's run folder is an engine-contract folder: it can be compared, and recorded, as it is.
  const Ended compared = tern(
      {"compare", (out_ / "scenario1" / "rs-run").string(), (golden_ / "tiny-i2_s" / "scenario1").string(), "--json"});
  EXPECT_EQ(compared.exit_code, 0) << compared.output;
}

// Users' jq lines on the reports, run where crossval-results/ is.
TEST_F(SweepCommandDeep, TheDocumentedJqLinesWork) {
  out_ = folder_.path() / "crossval-results";
  ASSERT_EQ(tern({"sweep", model_, tokenizer_, "--reference", "none"}, {}, folder_.path()).exit_code, 0);
  const auto jq = [&](const std::string& line) { return run({"sh", "-c", line}, {}, folder_.path()); };
  const Ended hashes =
      jq("jq -r '.blake3' crossval-results/scenario1/rs-traces/*.trace | sort | uniq | grep -c '^[0-9a-f]\\{64\\}$'");
  EXPECT_EQ(hashes.exit_code, 0);
  EXPECT_GT(std::stoi(hashes.output), 50);
  const Ended rms = jq(R"x(jq -r '"\(.name): \(.rms)"' crossval-results/scenario*/rs-traces/*.trace | sort | wc -l)x");
  EXPECT_EQ(rms.output, "525\n");
  const Ended unusual = jq("jq 'select(.rms < 0.1 or .rms > 10)' crossval-results/scenario1/rs-traces/*.trace");
  EXPECT_EQ(unusual.exit_code, 0) << unusual.output;
  EXPECT_EQ(jq("jq -r .parity.status crossval-results/scenario1/logits-comparison.json").output, "rust_only\n");
}

TEST_F(SweepCommandDeep, RequiredReferenceThatIsMissingIsNoVerdict) {
  const Ended ended = tern(sweep_of(model_, {"--require-reference"}));
  EXPECT_EQ(ended.exit_code, 5) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("no pack beside the model"));
}

// A copy of the model in which one ternary weight of layer 1's up projection has another value.
fs::path with_one_weight_changed(const fs::path& model, const fs::path& copy) {
  fs::copy_file(model, copy);
  fs::permissions(copy, fs::perms::owner_write, fs::perm_options::add);
  uint64_t offset = 0;
  uint8_t byte = 0;
  {
    const auto view = gguf::View::open(copy);
    EXPECT_TRUE(view);
    const gguf::Tensor* tensor = view->find_tensor("blk.1.ffn_up.weight");
    EXPECT_NE(tensor, nullptr);
    offset = tensor->file_offset;
    byte = static_cast<uint8_t>(tensor->data[0]);
  }
  const unsigned code = byte >> 6;  // weight 0
  const auto changed = static_cast<char>((byte & 0x3f) | ((code + 1) % 3) << 6);
  FILE* file = std::fopen(copy.c_str(), "r+b");
  EXPECT_NE(file, nullptr);
  std::fseek(file, static_cast<long>(offset), SEEK_SET);
  std::fwrite(&changed, 1, 1, file);
  std::fclose(file);
  return copy;
}

TEST_F(SweepCommand, OneChangedWeightIsFound) {
  const std::string pack = make_pack();
  const std::string changed = with_one_weight_changed(model_, folder_.path() / "changed.gguf").string();
  const Ended refused = tern(sweep_of(changed, {"--reference", pack}));
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.output, HasSubstr("belongs to another model"));
  EXPECT_FALSE(fs::exists(out_));

  const Ended compared = tern(sweep_of(changed, {"--reference", pack, "--allow-model-mismatch"}));
  ASSERT_EQ(compared.exit_code, 1) << compared.output;
  const Json sweep = json_in(out_ / "sweep.json");
  ASSERT_EQ(sweep["scenarios"].size(), 3U);
  for (const Json& scenario : sweep["scenarios"]) {
    EXPECT_EQ(scenario["comparison"]["first_divergence"]["name"], "blk1/up_proj");
    EXPECT_EQ(scenario["comparison"]["first_divergence"]["layer"], 1);
  }
  const std::string report = read_file(out_ / "scenario1" / "report.txt", 1 << 20).value();
  EXPECT_THAT(report, HasSubstr("blk1/up_proj"));
  EXPECT_THAT(report, HasSubstr("overridden"));
  EXPECT_THAT(read_file(out_ / "summary.md", 1 << 20).value(), HasSubstr("overridden"));
}

// The path and the prompt need quotes, the subject's command means something in one folder only, and the sweep ran in
// an environment that its reader need not have.
TEST_F(SweepCommand, AFailureIsReproducedByItsOwnLine) {
  const std::string pack = make_pack();
  const fs::path folder = folder_.path() / "it's a \"folder\"";
  ASSERT_TRUE(create_folder(folder));
  fs::rename(pack.substr(5), folder / "pack");
  with_one_weight_changed(model_, folder / "changed.gguf");
  fs::copy_file(tokenizer_, folder / "tokenizer.json");
  ASSERT_TRUE(write_file(folder / "s.toml",
                         "[[scenario]]\nname = \"in-parity\"\nprompt = \"x\"\nmax_tokens = 1\n"
                         "[[scenario]]\nname = \"told\"\nprompt = \"Count: 1,2,3,\"\nmax_tokens = 4\n"
                         "[[scenario]]\nname = \"quoted\"\nprompt = \"It's \\\"so\\\"\\n\"\nmax_tokens = 1\n"));
  ASSERT_TRUE(write_file(folder / "engine.sh", "exec " + test::tern_binary().string() + " run --ignore-eos \"$@\""));
  const Ended swept =
      tern({"sweep", "changed.gguf", "tokenizer.json", "out/", "--scenarios", "s.toml", "--subject",
            "command:sh engine.sh", "--reference", "pack:pack", "--allow-model-mismatch", "--oracle", "never"},
           {{"TERN_ISA", "scalar"}, {"RAYON_NUM_THREADS", "2"}, {"CROSSVAL_TIMEOUT_SECS", "77"}}, folder);
  ASSERT_EQ(swept.exit_code, 1) << swept.output;  // the pack has only one of the prompts, and that one differs
  const Json sweep = json_in(folder / "out" / "sweep.json");
  ASSERT_EQ(sweep["scenarios"].size(), 3U);
  for (const auto& [index, exit_code] : {std::pair{1, 1}, std::pair{2, 5}}) {
    const Json& failed = sweep["scenarios"][static_cast<size_t>(index)];
    const std::string name = failed["name"];
    const std::string repro = failed["repro"];
    EXPECT_THAT(swept.output, HasSubstr(name + ", to reproduce: " + repro + "\n"));
    EXPECT_THAT(repro, HasSubstr("TERN_ISA=scalar "));
    const Ended again = run({"sh", "-c", repro}, {}, "/");
    EXPECT_EQ(again.exit_code, exit_code) << again.output;
    const Json repeated = json_in(folder / ("out-" + name + "-repro") / "sweep.json");
    ASSERT_EQ(repeated["scenarios"].size(), 1U);
    EXPECT_EQ(repeated["scenarios"][0]["name"], name);
    EXPECT_EQ(repeated["scenarios"][0]["status"], failed["status"]);
    EXPECT_EQ(repeated["scenarios"][0]["prompt"], failed["prompt"]);
    EXPECT_EQ(repeated["environment"]["RAYON_NUM_THREADS"], "2");
    EXPECT_EQ(repeated["timeout_s"], 77);
    EXPECT_EQ(json_in(folder / "out" / "sweep.json"), sweep) << "the evidence is untouched";
  }
  const std::string reason = sweep["scenarios"][1]["reason"];
  EXPECT_THAT(reason, HasSubstr("blk1/up_proj"));
  EXPECT_EQ(json_in(folder / "out-told-repro" / "sweep.json")["scenarios"][0]["reason"], reason);
}

TEST_F(SweepCommand, OnlyTheNamedScenariosRun) {
  const Ended ended = tern(sweep_of(model_, {"--reference", "none", "--only", "scenario3", "--only", "scenario1"}));
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  const Json scenarios = json_in(out_ / "sweep.json")["scenarios"];
  ASSERT_EQ(scenarios.size(), 2U);
  EXPECT_EQ(scenarios[0]["name"], "scenario1");
  EXPECT_EQ(scenarios[1]["name"], "scenario3");
  EXPECT_TRUE(scenarios[0]["repro"].is_null());
  EXPECT_FALSE(fs::exists(out_ / "scenario2"));
}

TEST_F(SweepCommand, ATimeOutIsReported) {
  const std::string slow = "command:sh -c 'sleep 30' {out}";
  const Ended ended = tern(sweep_of(model_, {"--subject", slow}), {{"CROSSVAL_TIMEOUT_SECS", "1"}});
  EXPECT_EQ(ended.exit_code, 4) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("timed out after 1 s"));
  EXPECT_THAT(read_file(out_ / "scenario1" / "report.txt", 1 << 20).value(), HasSubstr("timed out after 1 s"));
  EXPECT_THAT(read_file(out_ / "summary.md", 1 << 20).value(), HasSubstr("timed out"));
  EXPECT_EQ(json_in(out_ / "sweep.json")["scenarios"].size(), 3U);
}

TEST_F(SweepCommand, ACrashIsReported) {
  const Ended ended = tern(sweep_of(model_, {"--subject", "command:sh -c 'kill -SEGV $$' {out}"}));
  EXPECT_EQ(ended.exit_code, 4) << ended.output;
  EXPECT_THAT(read_file(out_ / "scenario2" / "report.txt", 1 << 20).value(), HasSubstr("SIGSEGV"));
}

TEST_F(SweepCommandDeep, AnEngineMayBeAnyProgram) {
  const std::string self = "command:" + test::tern_binary().string() +
                           " run --model {model} --tokenizer {tokenizer} --prompt {prompt} --max-tokens {max_tokens} "
                           "--ignore-eos --threads 1 --out {out}";
  const Ended ended = tern(sweep_of(model_, {"--reference", self}));
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  EXPECT_EQ(json_in(out_ / "scenario3" / "logits-comparison.json")["parity"]["status"], "ok");
}

// An engine that prints its tokens and records nothing.
TEST_F(SweepCommand, TheLevelSaysWhatMustBeCompared) {
  const std::string self = "command:env -u BITNET_TRACE_DIR " + test::tern_binary().string() +
                           " run --model {model} --tokenizer {tokenizer} --prompt {prompt} --max-tokens {max_tokens} "
                           "--ignore-eos --threads 1";
  const auto sweep = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--reference", self, "--check-reference", "never", "--oracle", "never"});
    return tern(sweep_of(model_, more));
  };
  const auto parity = [&] { return json_in(out_ / "scenario3" / "logits-comparison.json")["parity"]; };
  const Ended tensors = sweep({});
  EXPECT_EQ(tensors.exit_code, 5) << tensors.output;
  EXPECT_EQ(parity()["level"], "tensors");
  fs::remove_all(out_);
  const Ended logits = sweep({"--level", "logits"});
  EXPECT_EQ(logits.exit_code, 5) << logits.output;
  EXPECT_THAT(logits.output, HasSubstr("the reference has no logits, and the level demands them"));
  fs::remove_all(out_);
  const Ended tokens = sweep({"--level", "tokens"});
  EXPECT_EQ(tokens.exit_code, 0) << tokens.output;
  EXPECT_EQ(parity()["status"], "ok");
  EXPECT_EQ(parity()["level"], "tokens");
  EXPECT_THAT(tokens.output, HasSubstr("scenario3  ok                tokens       4/4"));
  EXPECT_THAT(read_file(out_ / "scenario3" / "report.txt", 1 << 20).value(), HasSubstr("tokens (asked for)"));
}

TEST_F(SweepCommand, CtrlCLeavesNoChildAndNoHalfFile) {
  const std::string slow = "command:sh -c 'echo $$ > " + (folder_.path() / "pid.tmp").string() + "; mv " +
                           (folder_.path() / "pid.tmp").string() + " " + (folder_.path() / "pid").string() +
                           "; sleep 30' {out}";
  for (const int number : {SIGINT, SIGTERM}) {
    fs::remove(folder_.path() / "pid");
    std::vector<std::string> words = sweep_of(model_, {"--subject", slow});
    words.insert(words.begin(), test::tern_binary().string());
    std::vector<char*> argv;
    for (std::string& word : words) {
      argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    pid_t pid = 0;
    ASSERT_EQ(::posix_spawn(&pid, words[0].c_str(), nullptr, nullptr, argv.data(), environ), 0);
    for (int i = 0; i < 1000 && !fs::exists(folder_.path() / "pid"); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    const pid_t engine = std::stoi(read_file(folder_.path() / "pid", 100).value());
    ::kill(pid, number);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 128 + number);
    EXPECT_EQ(::kill(engine, 0), -1);  // tern waited for it: not even a zombie
    EXPECT_FALSE(fs::exists(out_));
  }
}

struct BadCommand {
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;
  int exit_code;
  std::string message;
};

TEST_F(SweepCommand, BadInputIsOneLineAndLeavesNothing) {
  const std::string toml = (folder_.path() / "bad.toml").string();
  ASSERT_TRUE(write_file(toml, "[[scenario]]\nname = \"a\"\nprompt = \"p\"\nmax_tokens = 0\n"));
  const std::string too_long = (folder_.path() / "long.toml").string();
  ASSERT_TRUE(write_file(too_long, "[[scenario]]\nname = \"a\"\nprompt = \"p\"\nmax_tokens = 1000000\n"));
  const std::string not_gguf = (folder_.path() / "not.gguf").string();
  ASSERT_TRUE(write_file(not_gguf, "hello, this is not a model"));
  const BadCommand commands[] = {
      {sweep_of("/no/model.gguf"), {}, 3, "Model not found: /no/model.gguf"},
      {{"sweep", model_, "/no/tokenizer.json", out_.string()}, {}, 3, "Tokenizer not found: /no/tokenizer.json"},
      {sweep_of(not_gguf), {}, 3, "not.gguf"},
      {{"sweep", model_, not_gguf, out_.string()}, {}, 3, "not.gguf"},
      {{"sweep", model_, tokenizer_, "/proc/nowhere/out"}, {}, 3, "/proc/nowhere/out"},
      {sweep_of(model_, {"--scenarios", toml}), {}, 3, "bad.toml line 4: max_tokens"},
      {sweep_of(model_, {"--scenarios", too_long}), {}, 3, "positions"},
      {sweep_of(model_, {"--scenarios", "/no/s.toml"}), {}, 3, "/no/s.toml"},
      {sweep_of(model_), {{"CROSSVAL_TIMEOUT_SECS", "soon"}}, 2, "CROSSVAL_TIMEOUT_SECS"},
      {sweep_of(model_), {{"RAYON_NUM_THREADS", "0"}}, 2, "RAYON_NUM_THREADS"},
      {sweep_of(model_, {"--timeout", "-3"}), {}, 2, "--timeout"},
      {sweep_of(model_, {"--only", "scenario4"}), {}, 2, "there are: scenario1, scenario2, scenario3"},
      {sweep_of(model_, {"--reference", "vllm:x"}), {}, 2, "bitnet.cpp:DIR"},
      {sweep_of(model_, {"--subject", "none"}), {}, 2, "--subject"},
      {sweep_of(model_, {"--subject", "command:e {threads}", "--subject-option", "threads=abc"}), {}, 2, "1 to 1024"},
      {sweep_of(model_, {"--subject-option", "ubatch=65537"}), {}, 2, "1 to 65536"},
      {sweep_of(model_, {"--reference", "pack:/no/pack"}), {}, 3, "/no/pack"},
      {sweep_of(model_, {"--reference", "bitnet.cpp:/no/tree"}), {}, 3, "there is no such folder"},
      {sweep_of(model_, {"--reference", "none", "--reference-arithmetic", "a"}), {}, 2, "--reference-arithmetic"},
      {{"reference", "build", "--reference", "pack:x"}, {}, 2, "needs no adapter"},
      {{"sweep", model_}, {}, 2, "tokenizer"},
  };
  for (const BadCommand& command : commands) {
    const Ended ended = tern(command.arguments, command.environment);
    EXPECT_EQ(ended.exit_code, command.exit_code) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr(command.message));
    EXPECT_FALSE(fs::exists(out_)) << ended.output;
  }
}

TEST_F(SweepCommand, PacksAreShownAndChecked) {
  const std::string pack = make_pack().substr(std::string("pack:").size());
  const Ended shown = tern({"pack", "show", pack, "--json"});
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_THAT(shown.output, HasSubstr("\"Count: 1,2,3,\""));
  EXPECT_EQ(tern({"pack", "check", pack, "--model", model_}).exit_code, 0);
  const Ended other = tern({"pack", "check", pack, "--model", (golden_ / "models" / "tiny-silu-i2_s.gguf").string()});
  EXPECT_EQ(other.exit_code, 3);
  EXPECT_THAT(other.output, HasSubstr("belongs to another model"));
  ASSERT_TRUE(write_file(fs::path(pack) / "scenario2" / "result.json", "{}"));
  EXPECT_EQ(tern({"pack", "check", pack}).exit_code, 3);
}

// Random weights are plausible figures, but no language.
TEST_F(SweepCommand, ValidateTellsGibberishFromWords) {
  const Ended ended = tern({"validate", model_, tokenizer_, "--json"});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  const auto json = parse_json(ended.output, "stdout");
  ASSERT_TRUE(json) << ended.output;
  EXPECT_EQ((*json)["passed"], false);
  const std::map<std::string, bool> expected = {
      {"norms", true}, {"projections", true}, {"tokenizer", true}, {"inference", false}};
  ASSERT_EQ((*json)["checks"].size(), expected.size());
  for (const Json& check : (*json)["checks"]) {
    EXPECT_EQ(check["passed"], expected.at(check["name"].get<std::string>())) << check.dump();
  }
  EXPECT_EQ(tern({"validate", "/no/model.gguf", tokenizer_}).exit_code, 3);
  EXPECT_EQ(tern({"validate", model_, tokenizer_}, {{"CROSSVAL_TIMEOUT_SECS", "0.001"}}).exit_code, 4);
}

TEST(BundledModel, SweepsToParityAndValidates) {
  const fs::path model = test::bundled_model_dir() / "tern-tiny-i2_s.gguf";
  const fs::path tokenizer = test::bundled_model_dir() / "tokenizer.json";
  const test::TemporaryFolder folder;
  const Ended swept =
      tern({"sweep", model.string(), tokenizer.string(), folder.path().string(), "--require-reference"});
  EXPECT_EQ(swept.exit_code, 0) << swept.output;
  for (const char* name : {"scenario1", "scenario2", "scenario3"}) {
    EXPECT_EQ(json_in(folder.path() / name / "logits-comparison.json")["parity"]["status"], "ok");
    EXPECT_GE(files_in(folder.path() / name / "rs-traces"), 90U);
  }
  const Ended validated = tern({"validate", model.string(), tokenizer.string()});
  EXPECT_EQ(validated.exit_code, 0) << validated.output;
}

TEST(BundledModel, IsSweptWhereNoModelIsNamed) {
  const test::TemporaryFolder folder;
  const Ended swept =
      run({test::tern_binary().string(), "sweep", "--only", "scenario1", "--require-reference"}, {}, folder.path());
  EXPECT_EQ(swept.exit_code, 0) << swept.output;
  EXPECT_EQ(json_in(folder.path() / "crossval-results" / "sweep.json")["scenarios"][0]["name"], "scenario1");
}

TEST(BundledModel, OracleAgreesWithTheEngine) {
  const std::string model = test::bundled_model_dir() / "tern-tiny-i2_s.gguf";
  const test::TemporaryFolder folder;
  const auto run_of = [&](const std::string& engine) {
    const Ended ended = tern({"run", "--engine", engine, "--model", model, "--prompt", "Count: 1,2,3,", "--max-tokens",
                              "4", "--out", folder.path() / engine, "--dump-tensors"});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("\n4,5,")) << ended.output;
  };
  run_of("tern");
  run_of("oracle");
  const Ended compared = tern({"compare", folder.path() / "tern", folder.path() / "oracle"});
  EXPECT_EQ(compared.exit_code, 0) << compared.output;
  EXPECT_THAT(compared.output, HasSubstr("372 of 372 tensors, 4 of 4 tokens, 13 of 13 rows of logits"));
  EXPECT_THAT(compared.output, HasSubstr("verdict: within tolerance"));
}

TEST(Scripts, ExplainThemselvesAndRefuseWrongArguments) {
  const fs::path scripts = test::source_dir() / "scripts";
  for (const char* name : {"run_crossval_sweep.sh", "parity_smoke.sh", "crossval.sh", "validate_gguf.sh"}) {
    const Ended help = run({(scripts / name).string(), "--help"});
    EXPECT_EQ(help.exit_code, 0) << name;
    EXPECT_THAT(help.output, HasSubstr("Usage:")) << name;
    const Ended missing = run({(scripts / name).string(), "/no/model.gguf", "/no/tokenizer.json"});
    EXPECT_EQ(missing.exit_code, 3) << name;
    EXPECT_THAT(missing.output, HasSubstr("/no/model.gguf")) << name;
  }
  EXPECT_EQ(run({(scripts / "run_crossval_sweep.sh").string(), "one"}).exit_code, 2);
  EXPECT_EQ(run({(scripts / "run_crossval_sweep.sh").string(), "1", "2", "3", "4"}).exit_code, 2);
  EXPECT_EQ(run({(scripts / "validate_gguf.sh").string(), "one"}).exit_code, 2);
}

}  // namespace
}  // namespace tern
