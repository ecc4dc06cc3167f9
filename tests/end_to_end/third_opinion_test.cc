// Which side is wrong, and whether a reference passes its checks: the real binary against a wrong recording of the real
// bitnet.cpp, and against stand-in engines that really have a fault.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/json.h"
#include "tern/gguf/view.h"
#include "tern/trace/safetensors.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

using test::Ended;
using testing::HasSubstr;

class ThirdOpinion : public testing::Test {
 protected:
  Ended tern(std::vector<std::string> arguments) {
    ChildCommand command = test::tern_command(std::move(arguments));
    command.output_path = folder_.path() / "output.txt";
    command.timeout_s = 1200;  // under sanitizers
    Ended ended = test::run_program(command);
    ended.output = read_file(command.output_path, uint64_t{64} << 20).value_or("");  // all of it
    return ended;
  }
  // An engine that computes everything as the oracle does, but for one fault.
  static std::string faulty(const std::string& fault) {
    return "command:'" + test::tern_binary().string() + "' run --engine oracle --ignore-eos --dump-tensors" +
           (fault.empty() ? "" : " --fault " + fault);
  }
  std::string out(const std::string& name) const { return (folder_.path() / name).string(); }
  // Sorted: what a sweep writes has more keys than Json takes from anybody.
  nlohmann::json json_in(const fs::path& path) {
    const auto text = read_file(path, uint64_t{64} << 20);
    EXPECT_TRUE(text) << text.error().line();
    return nlohmann::json::parse(text.value_or("{}"));
  }

  // Into "pack", hashes only: our engine on a copy of the model whose RoPE base is another.
  void record_with_another_rope_base(const std::vector<std::string>& more = {}) {
    std::string bytes = read_file(model_, uint64_t{64} << 20).value_or("");
    const size_t key = bytes.find("rope.freq_base");
    ASSERT_NE(key, std::string::npos);
    char* const place = bytes.data() + key + std::strlen("rope.freq_base") + sizeof(uint32_t);
    float base = 0;
    std::memcpy(&base, place, sizeof(base));
    base = base == 10000.0F ? 500000.0F : 10000.0F;
    std::memcpy(place, &base, sizeof(base));
    ASSERT_TRUE(write_file(out("wrong.gguf"), bytes));
    const std::string wrong = "command:'" + test::tern_binary().string() + "' run --ignore-eos --model " +
                              out("wrong.gguf") + " --prompt {prompt} --max-tokens {max_tokens} --threads {threads} " +
                              "--out {out}";
    std::vector<std::string> words = {"pack", "record",      "--reference", wrong,   "--model",
                                      model_, "--tokenizer", tokenizer_,    "--out", out("pack")};
    words.insert(words.end(), more.begin(), more.end());
    const Ended recorded = tern(words);
    ASSERT_EQ(recorded.exit_code, 0) << recorded.output;
  }

  test::TemporaryFolder folder_;
  std::string model_ = (test::golden_dir() / "models" / "tiny-i2_s.gguf").string();
  std::string tokenizer_ = (test::golden_dir() / "models" / "tokenizer.json").string();
};

using ThirdOpinionDeep = ThirdOpinion;

// The real bitnet.cpp, on a legal input: its int16 lanes wrap and its projections get the wrong sign.
TEST_F(ThirdOpinionDeep, NamesBitnetCppWrongWhereItWraps) {
  const fs::path model = test::golden_dir() / "models" / "wide-constant-i2_s.gguf";
  const fs::path recording = test::golden_dir() / "wide-constant-i2_s" / "overflow";
  ASSERT_EQ(tern({"run", "--model", model, "--prompt", "Hello", "--max-tokens", "2", "--ignore-eos", "--out",
                  out("ours"), "--dump-tensors"})
                .exit_code,
            0);
  ASSERT_EQ(tern({"compare", out("ours"), recording, "--model", model, "--json"}).exit_code, 1);
  const nlohmann::json json = json_in(folder_.path() / "output.txt");
  EXPECT_EQ(json["verdict"], "diverged");
  EXPECT_EQ(json["first_divergence"]["name"], "blk0/q_proj");
  EXPECT_EQ(json["arbitration"]["wrong"], "reference");
  EXPECT_EQ(json["wrong"], "reference");
  EXPECT_EQ(json["arbitration"]["reference_wrong_from"]["prefill"], "blk0/q_proj");
  EXPECT_EQ(json["arbitration"]["reference_wrong_from"]["decode"], "t1/blk0/q_proj");
  EXPECT_TRUE(json["arbitration"]["subject_wrong_from"]["prefill"].is_null());
  EXPECT_EQ(json["cause"]["id"], "int16_wrap");

  ASSERT_TRUE(write_file(out("facts.json"), R"({"name": "bitnet.cpp"})"));
  ASSERT_EQ(
      tern({"pack", "create", "--model", model, "--engine-facts", out("facts.json"), "--out", out("pack"), recording})
          .exit_code,
      0);
  ASSERT_TRUE(write_file(out("s.toml"), "[[scenario]]\nname = \"overflow\"\nprompt = \"Hello\"\nmax_tokens = 2\n"));
  const Ended swept =
      tern({"sweep", model, model, out("sweep"), "--reference", "pack:" + out("pack"), "--scenarios", out("s.toml")});
  EXPECT_EQ(swept.exit_code, 1) << swept.output;
  const Json parity = json_in(fs::path(out("sweep")) / "overflow" / "logits-comparison.json")["parity"];
  EXPECT_EQ(parity["status"], "diverged");
  EXPECT_EQ(parity["arbiter"]["wrong"], "reference");
  EXPECT_EQ(parity["cause"]["id"], "int16_wrap");
}

struct KnownFault {
  const char* fault;
  const char* check;  // that fails first
  const char* cause;  // null: it is none of a computation
  const char* place;
};

// Faults that projects have reported: each is caught by its check and named.
TEST_F(ThirdOpinionDeep, TheReferenceCheckCatchesAndNamesFaults) {
  constexpr KnownFault kFaults[] = {
      {"activation_function", "oracle", "activation_function", "blk0/ffn_act"},  // SiLU where the model declares ReLU²
      {"i2s_block_size", "oracle", "i2s_block_size", "blk0/q_proj"},             // 64 read as 128
      {"prefill_only", "batch", "prefill_only", "blk0/q_proj"},
      {"rope_pairing", "oracle", "rope_pairing", "blk0/q_rope"},
      {"ternary_code_map", "oracle", "ternary_code_map", "blk0/q_proj"},
      {"nondeterministic", "repeatable", nullptr, nullptr},
      {"thread_dependent", "threads", nullptr, nullptr},
      {"nan", "not_vacuous", "unknown", nullptr},
      {"all_zero", "not_vacuous", "weight_scale", nullptr},  // measured: the output is 0 times what it should be
  };
  const std::string model = (test::bundled_model_dir() / "tern-tiny-i2_s.gguf").string();
  for (const KnownFault& known : kFaults) {
    const Ended ended = tern({"reference", "check", "--reference", faulty(known.fault), "--model", model, "--json"});
    EXPECT_EQ(ended.exit_code, 5) << known.fault << "\n" << ended.output;
    const Json json = parse_json(ended.output.substr(ended.output.find("{\n")), "output").value_or(Json());
    ASSERT_TRUE(json.is_object()) << ended.output;
    EXPECT_EQ(json["trusted"], false);
    EXPECT_EQ(json["failed_check"], known.check) << known.fault;
    if (known.cause != nullptr) {
      EXPECT_EQ(json["cause"]["id"], known.cause) << known.fault;
      EXPECT_EQ(json["cause"]["side"], "reference") << known.fault;
    } else {
      EXPECT_TRUE(json["cause"].is_null()) << known.fault;
    }
    if (known.place != nullptr) {
      EXPECT_EQ(json["cause"]["name"], known.place) << known.fault;
    }
  }
  const Ended right = tern({"reference", "check", "--reference", faulty(""), "--model", model});
  EXPECT_EQ(right.exit_code, 0) << right.output;
  EXPECT_THAT(right.output, HasSubstr("trusted on this model"));
}

// Each fault is found where it starts and named, right engines pass, and empty agreement is mistrusted. On the bundled
// model; selftest_table.txt has the whole table.
TEST_F(ThirdOpinionDeep, SelftestNamesEveryFault) {
  const Ended ended = tern({"selftest", "--json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  const Json json = parse_json(ended.output.substr(ended.output.find("{\n")), "output").value_or(Json());
  ASSERT_TRUE(json["rows"].is_array()) << ended.output;
  EXPECT_EQ(json["format"], 1);
  std::string table;
  for (const Json& line : json["rows"]) {
    for (const char* column : {"fault", "first_differs_at", "found_at", "found", "result"}) {
      table += line[column].get<std::string>() + (column == std::string_view("result") ? "\n" : " | ");
    }
  }
  const fs::path wanted = test::source_dir() / "tests" / "end_to_end" / "selftest_table.txt";
  const auto expected = read_file(wanted, 1 << 20);
  ASSERT_TRUE(expected) << expected.error().line();
  EXPECT_EQ(table, *expected);
}

TEST_F(ThirdOpinion, ASweepDoesNotBelieveAFaultyReference) {
  const Ended ended = tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", faulty("activation_function")});
  EXPECT_EQ(ended.exit_code, 1) << "the difference is proved\n" << ended.output;
  const nlohmann::json sweep = json_in(fs::path(out("sweep")) / "sweep.json");
  EXPECT_EQ(sweep["reference_check"]["failed_check"], "oracle");
  ASSERT_EQ(sweep["scenarios"].size(), 3U);
  for (const auto& scenario : sweep["scenarios"]) {
    EXPECT_EQ(scenario["status"], "diverged");
    EXPECT_EQ(scenario["arbitration"]["wrong"], "reference");
    EXPECT_EQ(scenario["parity"]["first_divergence"]["name"], "blk0/ffn_act");
    EXPECT_EQ(scenario["cause"]["id"], "activation_function");
  }
}

// The same two runs, judged by a sweep and by `tern compare`.
TEST_F(ThirdOpinionDeep, SweepAndCompareGiveTheSameJudgement) {
  ASSERT_TRUE(write_file(out("s.toml"), "[[scenario]]\nname = \"one\"\nprompt = \"Hello\"\nmax_tokens = 2\n"));
  struct Pair {
    const char *name, *subject, *reference;  // faults
    const char *verdict, *wrong;
    int exit_code;
  };
  constexpr Pair kPairs[] = {{"equal", "", "", "match", "neither", 0},
                             {"wrong-subject", "rope_pairing", "", "diverged", "subject", 1},
                             {"wrong-reference", "", "norm_epsilon=0.01", "diverged", "reference", 1},
                             {"both-wrong-alike", "rope_pairing", "rope_pairing", "diverged", "both", 1}};
  for (const Pair& pair : kPairs) {
    SCOPED_TRACE(pair.name);
    const Ended swept = tern({"sweep", model_, tokenizer_, out(pair.name), "--scenarios", out("s.toml"), "--subject",
                              faulty(pair.subject), "--reference", faulty(pair.reference), "--check-reference", "never",
                              "--dump-tensors"});
    EXPECT_EQ(swept.exit_code, pair.exit_code) << swept.output;
    const fs::path scenario = fs::path(out(pair.name)) / "one";
    const nlohmann::json parity = json_in(scenario / "logits-comparison.json")["parity"];
    const fs::path subject = scenario / (fs::exists(scenario / "rs-forced-run") ? "rs-forced-run" : "rs-run");
    const Ended compared = tern({"compare", subject, scenario / "cpp-run", "--model", model_, "--json"});
    EXPECT_EQ(compared.exit_code, pair.exit_code) << compared.output;
    const nlohmann::json json = nlohmann::json::parse(compared.output);
    EXPECT_EQ(json["verdict"], pair.verdict);
    EXPECT_EQ(json["arbitration"]["wrong"], pair.wrong);
    EXPECT_EQ(json["verdict"], parity["verdict"]);
    EXPECT_EQ(json["first_divergence"], parity["first_divergence"]);
    EXPECT_EQ(json["cause"], parity["cause"]);
    EXPECT_EQ(json["arbitration"]["wrong"], parity["arbiter"]["wrong"]);
    EXPECT_EQ(json["arbitration"]["reason"], parity["arbiter"]["reason"]);
    if (json["verdict"] != "match") {
      EXPECT_EQ(json["reason"], parity["reason"]);
    }
  }
}

// Two engines that are wrong in the same way agree with each other.
TEST_F(ThirdOpinionDeep, AgreementOfTwoWrongEnginesIsNoPass) {
  const Ended ended = tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", faulty("rope_pairing"),
                            "--subject", faulty("rope_pairing"), "--check-reference", "never"});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  const Json parity = json_in(fs::path(out("sweep")) / "scenario3" / "logits-comparison.json")["parity"];
  EXPECT_EQ(parity["arbiter"]["wrong"], "both");
  EXPECT_EQ(parity["tensors_equal"], parity["tensors_expected"]);
}

TEST_F(ThirdOpinionDeep, AWrongSubjectIsFoundWithoutAReference) {
  const Ended ended =
      tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", "none", "--subject", faulty("causal_mask")});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  const Json parity = json_in(fs::path(out("sweep")) / "scenario3" / "logits-comparison.json")["parity"];
  EXPECT_EQ(parity["status"], "diverged");
  EXPECT_EQ(parity["arbiter"]["wrong"], "subject");
  EXPECT_EQ(parity["cause"]["id"], "causal_mask");
  EXPECT_EQ(parity["cause"]["name"], "blk0/attn_scores_softmax");
}

TEST_F(ThirdOpinion, IsNotAskedWhereNobodyWantsIt) {
  const Ended ended = tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", "none", "--oracle", "never"});
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  const Json receipt = json_in(fs::path(out("sweep")) / "scenario1" / "logits-comparison.json");
  EXPECT_TRUE(receipt["parity"]["arbiter"].is_null());
  EXPECT_EQ(receipt["parity"]["no_arbiter_because"], "--oracle never");
  EXPECT_FALSE(fs::exists(fs::path(out("sweep")) / "scenario1" / "oracle-run"));
  EXPECT_EQ(tern({"sweep", model_, tokenizer_, out("other"), "--oracle", "perhaps"}).exit_code, 2);
}

// A reference with other tokens: what follows is compared all the same, on the reference's tokens.
TEST_F(ThirdOpinionDeep, TeacherForcingComparesBeyondAnotherToken) {
  const Ended ended = tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", faulty("activation_function"),
                            "--check-reference", "never"});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  bool forced = false;
  for (const char* name : {"scenario1", "scenario2", "scenario3"}) {
    const fs::path scenario = fs::path(out("sweep")) / name;
    const Json parity = json_in(scenario / "logits-comparison.json")["parity"];
    if (fs::exists(scenario / "rs-forced-run")) {
      forced = true;
      EXPECT_LT(parity["exact_match_rate"].get<double>(), 1);
      EXPECT_TRUE(parity["teacher_forced"].is_object());
    }
    EXPECT_EQ(parity["positions_compared"], parity["positions_expected"]) << name;
    EXPECT_EQ(parity["tensors_compared"], parity["tensors_expected"]) << name;
  }
  EXPECT_TRUE(forced) << "no scenario's tokens differ: this test has lost its case";
}

// A subject that fails when it is taught has not agreed to anything beyond the first other token.
TEST_F(ThirdOpinionDeep, ASubjectThatCannotBeTaughtIsSaidSo) {
  ASSERT_TRUE(write_file(out("subject.sh"), "[ -n \"$1\" ] && exit 7\nshift\nexec '" + test::tern_binary().string() +
                                                "' run --ignore-eos \"$@\"\n"));
  const Ended ended = tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", faulty("activation_function"),
                            "--check-reference", "never", "--subject",
                            "command:sh " + out("subject.sh") +
                                " {teacher_tokens} --model {model} --tokenizer {tokenizer} --prompt {prompt} "
                                "--max-tokens {max_tokens} --out {out}"});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("since the subject, fed the reference's tokens, ended with exit code 7"));
}

// Faults that engines out there have had, by stand-ins, each named from the recording of the real bitnet.cpp alone.
TEST_F(ThirdOpinionDeep, NamesFaultsFromTheWildByARecording) {
  struct Found {
    const char *fault, *place;
  };
  const std::string model = (test::bundled_model_dir() / "tern-tiny-i2_s.gguf").string();
  const std::string recording = (test::bundled_model_dir() / "reference").string();
  for (const Found& found : {Found{"activation_function", "blk0/ffn_act"},  // SiLU where the model declares ReLU²
                             Found{"i2s_block_size", "blk0/q_proj"}, Found{"ternary_code_map", "blk0/q_proj"}}) {
    const std::string subject = out(found.fault);
    ASSERT_EQ(tern({"run", "--engine", "oracle", "--fault", found.fault, "--model", model, "--prompt", "Count: 1,2,3,",
                    "--max-tokens", "4", "--ignore-eos", "--dump-tensors", "--out", subject})
                  .exit_code,
              0);
    ASSERT_EQ(tern({"compare", subject, recording, "--model", model, "--json"}).exit_code, 1);
    const nlohmann::json json = json_in(folder_.path() / "output.txt");
    EXPECT_EQ(json["verdict"], "diverged");
    EXPECT_EQ(json["arbitration"]["wrong"], "subject");
    EXPECT_EQ(json["cause"]["id"], found.fault);
    EXPECT_EQ(json["cause"]["name"], found.place);
    EXPECT_GT(json["cause"]["confidence"], 0.99);
    EXPECT_EQ(json["first_divergence"]["name"], found.place);
  }
}

// The engine contract's folder of a faulty engine, with and without values, against our own run.
TEST_F(ThirdOpinion, NamesTheFaultOfAnEngineContractFolder) {
  const std::vector<std::string> common = {"--model", model_,         "--prompt",       "Count: 1,2,3,", "--max-tokens",
                                           "3",       "--ignore-eos", "--dump-tensors", "--out"};
  const auto run = [&](std::vector<std::string> words, const std::string& folder) {
    words.insert(words.end(), common.begin(), common.end());
    words.push_back(folder);
    return tern(words).exit_code;
  };
  ASSERT_EQ(run({"run"}, out("ours")), 0);
  ASSERT_EQ(run({"run", "--engine", "oracle", "--fault", "attention_scale"}, out("theirs")), 0);
  for (const bool with_values : {true, false}) {
    if (!with_values) {
      fs::remove(fs::path(out("theirs")) / "tensors.safetensors");
    }
    ASSERT_EQ(tern({"compare", out("ours"), out("theirs"), "--model", model_, "--json"}).exit_code, 1);
    const nlohmann::json json = json_in(folder_.path() / "output.txt");
    EXPECT_EQ(json["verdict"], "diverged");
    EXPECT_EQ(json["arbitration"]["wrong"], "reference");
    EXPECT_EQ(json["cause"]["id"], "attention_scale") << "with values: " << with_values;
    EXPECT_EQ(json["cause"]["name"], "blk0/attn_scores_softmax") << "with values: " << with_values;
    // The same again, from another folder and by nothing but this line.
    ChildCommand again;
    again.argv = {"sh", "-c", json["repro"].get<std::string>() + " --json"};
    again.working_dir = "/";
    again.output_path = folder_.path() / "again.txt";
    again.timeout_s = 1200;
    EXPECT_EQ(test::run_program(again).exit_code, 1);
    EXPECT_EQ(json_in(folder_.path() / "again.txt"), json);
  }
}

// A model too large for the oracle as a whole, as it were: it computes one layer only, from what the subject recorded
// there, and names the fault of a recording that holds nothing but hashes.
TEST_F(ThirdOpinionDeep, ACloseLookNamesTheFaultOfARecordingWithoutValues) {
  record_with_another_rope_base();
  const Ended ended =
      tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", "pack:" + out("pack"), "--oracle", "near"});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  const Json parity = json_in(fs::path(out("sweep")) / "scenario3" / "logits-comparison.json")["parity"];
  EXPECT_EQ(parity["arbiter"]["wrong"], "reference");
  EXPECT_EQ(parity["cause"]["name"], "blk0/q_rope");
  EXPECT_EQ(parity["cause"]["id"], "rope_base");
  // Only the layer's values were kept, and what goes into it.
  const auto near =
      trace::Safetensors::open(fs::path(out("sweep")) / "scenario3" / "rs-near-run" / "tensors.safetensors");
  ASSERT_TRUE(near) << near.error().line();
  EXPECT_FALSE(near->entries().empty());
  for (const auto& [name, entry] : near->entries()) {
    EXPECT_TRUE(name.find("blk0/") != std::string::npos || name.find("embeddings") != std::string::npos) << name;
  }
}

// The same of two recordings: the values that one side has say what went into the difference.
TEST_F(ThirdOpinionDeep, ACloseLookAtTwoRecordingsNeedsTheValuesOfOne) {
  record_with_another_rope_base();
  const auto run = [&](const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"run",           "--model",      model_, "--tokenizer",  tokenizer_, "--prompt",
                                      "Count: 1,2,3,", "--max-tokens", "4",    "--ignore-eos", "--out",    out(name)};
    words.insert(words.end(), more.begin(), more.end());
    ASSERT_EQ(tern(words).exit_code, 0);
  };
  run("values", {"--dump-tensors"});
  run("hashes", {});
  const auto compared = [&](const std::string& subject) {
    const Ended ended = tern({"compare", out(subject), out("pack"), "--model", model_, "--oracle", "near", "--json"});
    EXPECT_EQ(ended.exit_code, 1) << ended.output;
    return json_in(folder_.path() / "output.txt");
  };
  const auto json = compared("values");
  EXPECT_EQ(json["wrong"], "reference");
  EXPECT_EQ(json["first_divergence"]["name"], "blk0/q_rope");
  EXPECT_EQ(json["cause"]["id"], "rope_base") << json["cause"]["evidence"];
  EXPECT_EQ(json["cause"]["side"], "reference");
  const auto without = compared("hashes");
  EXPECT_TRUE(without["wrong"].is_null());
  EXPECT_THAT(without["no_arbitration_because"].get<std::string>(), HasSubstr("no values say what went into"));
}

// One copy of the model with two mistakes: the cause is the first, and what it does not explain is said.
TEST_F(ThirdOpinionDeep, OfTwoFaultsTheFirstIsNamedAndTheOtherIsSaid) {
  std::string bytes = read_file(model_, uint64_t{64} << 20).value_or("");
  const auto view = gguf::View::open(model_);
  ASSERT_TRUE(view) << view.error().line();
  const auto halve_scale = [&](const char* name) {
    const gguf::Tensor* tensor = view->find_tensor(name);
    char* const place = bytes.data() + tensor->file_offset + tensor->n_elements() / 4;
    float scale = 0;
    std::memcpy(&scale, place, sizeof(scale));
    scale /= 2;
    std::memcpy(place, &scale, sizeof(scale));
  };
  const auto negate_row = [&](const char* name, uint64_t row) {
    const gguf::Tensor* tensor = view->find_tensor(name);
    const uint64_t row_bytes = tensor->n_cols() / 4;
    for (uint64_t i = 0; i < row_bytes; ++i) {
      char& byte = bytes[tensor->file_offset + row * row_bytes + i];
      byte = static_cast<char>(0xaa - static_cast<unsigned char>(byte));  // 2 - code in each of the four
    }
  };
  halve_scale("blk.0.attn_k.weight");
  negate_row("blk.2.ffn_up.weight", 5);
  ASSERT_TRUE(write_file(out("wrong.gguf"), bytes));
  for (const auto& [model, name] : {std::pair{model_, "right"}, std::pair{out("wrong.gguf"), "wrong"}}) {
    const Ended ended = tern({"run", "--model", model, "--tokenizer", tokenizer_, "--prompt", "Hello", "--max-tokens",
                              "1", "--ignore-eos", "--dump-tensors", "--out", out(name)});
    ASSERT_EQ(ended.exit_code, 0) << ended.output;
  }
  const Ended ended = tern({"compare", out("wrong"), out("right"), "--model", model_, "--json"});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  const auto json = json_in(folder_.path() / "output.txt");
  const auto& cause = json["cause"];
  EXPECT_EQ(json["wrong"], "subject");
  EXPECT_EQ(json["first_divergence"]["name"], "blk0/k_proj");
  EXPECT_EQ(cause["id"], "weight_scale") << cause["evidence"];
  EXPECT_EQ(cause["name"], "blk0/k_proj");
  EXPECT_NEAR(cause["parameters"]["factor"].get<double>(), 0.5, 1e-4);
  EXPECT_EQ(cause["unexplained"], nlohmann::json::array({"blk2/up_proj"}));
  EXPECT_THAT(cause["evidence"].get<std::string>(),
              HasSubstr("1 more tensor is wrong by itself, blk2/up_proj, and not explained by it"));
}

// Of many tokens, the first pass is enough: the engine is ended where it differs, and the fault is named all the same.
TEST_F(ThirdOpinionDeep, ADifferenceThatIsSeenWhileTheEngineRunsEndsIt) {
  ASSERT_TRUE(
      write_file(out("s.toml"), "[[scenario]]\nname = \"long\"\nprompt = \"Count: 1,2,3,\"\nmax_tokens = 100\n"));
  record_with_another_rope_base({"--scenarios", out("s.toml")});
  const Ended ended = tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", "pack:" + out("pack"),
                            "--scenarios", out("s.toml"), "--stop-at-divergence"});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  EXPECT_THAT(ended.output, HasSubstr("blk0/q_rope differs (prefill, layer 0), seen after"));
  const nlohmann::json scenario = json_in(fs::path(out("sweep")) / "sweep.json")["scenarios"][0];
  EXPECT_EQ(scenario["seen_while_running"]["name"], "blk0/q_rope");
  EXPECT_EQ(scenario["seen_while_running"]["side"], "subject");
  EXPECT_EQ(scenario["subject"]["execution"]["ended_at_difference"], true);
  EXPECT_TRUE(scenario["subject"]["result"].is_null());
  EXPECT_EQ(scenario["comparison"]["first_divergence"]["name"], "blk0/q_rope");
  EXPECT_EQ(scenario["arbitration"]["wrong"], "reference");
  EXPECT_EQ(scenario["cause"]["id"], "rope_base");
  EXPECT_EQ(scenario["cause"]["name"], "blk0/q_rope");
}

// Fed its own tensors, an engine computes what it had computed; fed another's, only what is its own is left to differ.
TEST_F(ThirdOpinion, EachStageCanBeComputedFromTheTensorsOfAnotherRun) {
  const std::vector<std::string> common = {"run",          "--model", model_,         "--prompt",       "Count: 1,2,3,",
                                           "--max-tokens", "3",       "--ignore-eos", "--dump-tensors", "--out"};
  const auto run = [&](const std::string& folder, const std::vector<std::string>& more) {
    std::vector<std::string> words = common;
    words.push_back(folder);
    words.insert(words.end(), more.begin(), more.end());
    return tern(words).exit_code;
  };
  ASSERT_EQ(run(out("a"), {}), 0);
  ASSERT_EQ(run(out("b"), {"--inputs-from", out("a")}), 0);
  ASSERT_EQ(tern({"compare", out("a"), out("b"), "--exact"}).exit_code, 0);
  ASSERT_EQ(run(out("faulty"), {"--engine", "oracle", "--fault", "activation_gelu", "--teacher-tokens", "1,2"}), 0);
  ASSERT_EQ(run(out("ours"), {"--teacher-tokens", "1,2", "--inputs-from", out("faulty")}), 0);
  ASSERT_EQ(tern({"compare", out("ours"), out("faulty"), "--tolerant", "--json"}).exit_code, 1);
  const nlohmann::json json = json_in(folder_.path() / "output.txt");
  std::set<std::string> diverged;
  for (const auto& tensor : json["tensors"]) {
    if (tensor["status"] == "diverged") {
      diverged.insert(tensor["stage"].get<std::string>());
    }
  }
  EXPECT_EQ(diverged, std::set<std::string>{"ffn_act"});
  EXPECT_EQ(run(out("c"), {"--inputs-from", out("nowhere")}), 3);
  // What goes into the layer is not there: nothing may be computed from something else.
  ASSERT_EQ(run(out("first_layer"), {"--around", "blk0/q_proj"}), 0);
  EXPECT_EQ(run(out("c"), {"--engine", "oracle", "--around", "blk0/out", "--inputs-from", out("first_layer")}), 0);
  EXPECT_EQ(run(out("d"), {"--engine", "oracle", "--around", "blk2/out", "--inputs-from", out("first_layer")}), 3);
  EXPECT_THAT(read_file(folder_.path() / "output.txt", 100000).value_or(""), HasSubstr("holds no values of blk1/out"));
  EXPECT_FALSE(fs::exists(out("d")));
  fs::remove_all(out("c"));
  EXPECT_EQ(run(out("c"), {"--around", "blk0/nonsense"}), 2);
  EXPECT_EQ(run(out("c"), {"--inputs-before", "blk0/out"}), 2);
  EXPECT_FALSE(fs::exists(out("c")));
}

// A sweep gives our engine the inputs that the other one recorded: only the fault is left, and what it changes is no
// longer inherited by what comes after it.
TEST_F(ThirdOpinion, ASweepHoldsBothSidesOnTheSameInputs) {
  const Ended ended = tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", faulty("attention_scale"),
                            "--check-reference", "never", "--only", "scenario2"});
  EXPECT_EQ(ended.exit_code, 1) << ended.output;
  const nlohmann::json scenario = json_in(fs::path(out("sweep")) / "sweep.json")["scenarios"][0];
  const nlohmann::json& arbitration = scenario["arbitration"];
  EXPECT_EQ(arbitration["same_inputs_of"], "reference");
  size_t n_held = 0;
  for (const auto& stage : arbitration["stages"]) {
    const std::string name = stage["name"];
    if (stage["on_same_inputs"].is_null()) continue;
    ++n_held;
    const double multiple = stage["on_same_inputs"]["multiple_of_floor"];
    if (name.find("attn_scores_softmax") != std::string::npos) {
      EXPECT_GT(multiple, 100) << name;
    } else if (name.find("attn_out") == std::string::npos) {  // which ours computes from its own scores
      EXPECT_LT(multiple, 8) << name;
    }
  }
  EXPECT_GT(n_held, arbitration["stages"].size() * 9 / 10);
  EXPECT_THAT(read_file(fs::path(out("sweep")) / "scenario2" / "report.txt", 1000000).value_or(""),
              HasSubstr("both sides' operations on the reference's inputs: how far apart"));
}

// Two right engines, whose bits differ from the first norm on: the cause is rounding, in a sweep and in a comparison.
TEST_F(ThirdOpinionDeep, RightEnginesDifferByRounding) {
  const Ended ended = tern({"sweep", model_, tokenizer_, out("sweep"), "--reference", faulty(""), "--check-reference",
                            "never", "--only", "scenario2"});
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  const fs::path scenario = fs::path(out("sweep")) / "scenario2";
  const Json parity = json_in(scenario / "logits-comparison.json")["parity"];
  EXPECT_EQ(parity["cause"]["id"], "rounding");
  EXPECT_EQ(parity["cause"]["name"], "blk0/attn_norm");
  EXPECT_EQ(parity["cause"]["confidence"], 1.0);
  ASSERT_EQ(tern({"compare", (scenario / "rs-run").string(), (scenario / "cpp-run").string(), "--model", model_,
                  "--exact", "--json"})
                .exit_code,
            1);
  const nlohmann::json json = json_in(folder_.path() / "output.txt");
  EXPECT_EQ(json["verdict"], "diverged");  // as demanded
  EXPECT_EQ(json["arbitration"]["wrong"], "neither");
  EXPECT_EQ(json["cause"]["id"], "rounding");
  // Without the values of one side, the data does not show it.
  fs::remove(scenario / "cpp-run" / "tensors.safetensors");
  ASSERT_EQ(
      tern({"compare", (scenario / "rs-run").string(), (scenario / "cpp-run").string(), "--model", model_, "--json"})
          .exit_code,
      0);
  EXPECT_TRUE(json_in(folder_.path() / "output.txt")["cause"].is_null());
}

// The noise floors are measured, and engines that are right stay within them: ours in every instruction set, and the
// recording of the real bitnet.cpp.
TEST_F(ThirdOpinionDeep, RightEnginesStayWithinTheNoiseFloor) {
  const Ended ended = tern({"noise", "--recording", (test::bundled_model_dir() / "reference").string(), "--json"});
  EXPECT_EQ(ended.exit_code, 0) << ended.output;
  const Json json = parse_json(ended.output.substr(ended.output.find("{\n")), "output").value_or(Json());
  ASSERT_EQ(json["stages"].size(), 21U) << ended.output;
  EXPECT_EQ(json["format"], 1);
  for (const Json& stage : json["stages"]) {
    EXPECT_GT(stage["usual_floor"], 0) << stage.dump();
    EXPECT_TRUE(stage["largest_multiple_of_floor"].contains("scalar")) << stage.dump();
    EXPECT_TRUE(stage["largest_multiple_of_floor"].contains("recording")) << stage.dump();
    for (const Json& multiple : stage["largest_multiple_of_floor"]) {
      EXPECT_LT(multiple, 2.5) << stage.dump();  // 4 would be wrong: half of that is in reserve
    }
  }
}

}  // namespace
}  // namespace tern
