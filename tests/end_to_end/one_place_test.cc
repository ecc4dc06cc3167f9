// Where two sides part is one place, whatever each of them has recorded, and whichever output says it: runs of copies
// of the model with a mistake in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "end_to_end/altered_model.h"
#include "support/paths.h"
#include "support/run_program.h"
#include "tern/base/child_process.h"
#include "tern/base/file.h"
#include "tern/base/json.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

using test::Ended;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct RecordedCase {
  const char* what;
  bool subject_has_values, reference_has_values;
};
constexpr RecordedCase kRecorded[] = {{"values on both sides", true, true},
                                      {"the subject has hashes only", false, true},
                                      {"the reference has hashes only", true, false},
                                      {"both have hashes only", false, false}};

struct MistakeCase {
  const char* what;
  const char* place;
  bool shows_side;  // without values
  void (*make)(test::AlteredModel& model);
};
constexpr MistakeCase kMistakes[] = {
    {"a sign, which leaves the RMS as it is", "blk2/o_proj", true,
     [](test::AlteredModel& model) { model.negate("blk.2.attn_output.weight"); }},
    {"a scale", "blk1/up_proj", true, [](test::AlteredModel& model) { model.scale("blk.1.ffn_up.weight", 0.5F); }},
    {"one weight, which no RMS shows", "blk1/k_proj", false,
     [](test::AlteredModel& model) { model.change_one_weight("blk.1.attn_k.weight"); }},
};

class OnePlaceDeep : public testing::Test {
 protected:
  std::string out(const std::string& name) const { return (folder_.path() / name).string(); }
  Ended tern(std::vector<std::string> arguments, const std::string& output) {
    ChildCommand command = test::tern_command(std::move(arguments));
    command.output_path = out(output);
    command.timeout_s = 1200;  // under sanitizers
    Ended ended = test::run_program(command);
    ended.output = text_of(command.output_path);
    return ended;
  }
  static std::string text_of(const fs::path& path) { return read_file(path, uint64_t{64} << 20).value_or(""); }
  nlohmann::json json_in(const fs::path& path) { return nlohmann::json::parse(text_of(path)); }
  static std::string engine(const std::string& model, bool with_values) {
    return "command:'" + test::tern_binary().string() + "' run --ignore-eos --model " + model +
           " --prompt {prompt} --max-tokens {max_tokens} --threads {threads} --out {out}" +
           (with_values ? " --dump-tensors" : "");
  }

  test::TemporaryFolder folder_;
  std::string model_ = (test::bundled_model_dir() / "tern-tiny-i2_s.gguf").string();
  std::string tokenizer_ = (test::bundled_model_dir() / "tokenizer.json").string();
};

TEST_F(OnePlaceDeep, TheFirstDivergenceIsTheSameInEveryOutputWhateverIsRecorded) {
  ASSERT_TRUE(write_file(out("s.toml"), "[[scenario]]\nname = \"one\"\nprompt = \"Count: 1,2,3,\"\nmax_tokens = 3\n"));
  for (const MistakeCase& mistake : kMistakes) {
    test::AlteredModel altered(model_);
    mistake.make(altered);
    ASSERT_TRUE(altered.write(out("wrong.gguf")));
    for (const RecordedCase& recorded : kRecorded) {
      SCOPED_TRACE(std::string(mistake.what) + "; " + recorded.what);
      const fs::path swept = out("sweep");
      fs::remove_all(swept);
      const Ended ended = tern(
          {"sweep", model_, tokenizer_, swept.string(), "--subject",
           engine(out("wrong.gguf"), recorded.subject_has_values), "--reference",
           engine(model_, recorded.reference_has_values), "--scenarios", out("s.toml"), "--check-reference", "never"},
          "sweep.txt");
      EXPECT_EQ(ended.exit_code, 1) << ended.output;
      const std::string place = mistake.place;
      const std::string words = "first divergence: " + place + "\n";
      EXPECT_THAT(ended.output, AllOf(HasSubstr("diverged at " + place + " ("), HasSubstr("one, " + words)));
      EXPECT_THAT(text_of(swept / "one" / "report.txt"), HasSubstr("First diverging trace:  " + place + " ("));
      EXPECT_THAT(text_of(swept / "summary.md"), HasSubstr("| `" + place + "` |\n"));
      EXPECT_THAT(text_of(swept / "junit.xml"), HasSubstr("first divergence " + place + ","));
      const auto receipt = json_in(swept / "one" / "logits-comparison.json")["parity"];
      EXPECT_EQ(receipt["first_divergence"]["name"], place);
      const auto scenario = json_in(swept / "sweep.json")["scenarios"][0];
      EXPECT_EQ(scenario["parity"]["first_divergence"]["name"], place);
      EXPECT_EQ(scenario["comparison"]["first_divergence"]["name"], place);

      const std::string runs[] = {(swept / "one" / "rs-run").string(), (swept / "one" / "cpp-run").string()};
      EXPECT_EQ(tern({"compare", runs[0], runs[1], "--model", model_, "--json"}, "compare.json").exit_code, 1);
      const auto compared = json_in(out("compare.json"));
      EXPECT_EQ(compared["first_divergence"]["name"], place);
      const Ended text = tern({"compare", runs[0], runs[1], "--model", model_}, "compare.txt");
      EXPECT_THAT(text.output, HasSubstr("first divergence: " + place + " ("));

      // Neither what is said of the sides nor the cause contradicts it.
      const bool shows_side = mistake.shows_side || recorded.subject_has_values || recorded.reference_has_values;
      for (const auto* judged : {&scenario["arbitration"], &compared["arbitration"]}) {
        EXPECT_EQ((*judged)["wrong"], shows_side ? nlohmann::json("subject") : nlohmann::json());
        EXPECT_EQ((*judged)["subject_wrong_from"]["prefill"], shows_side ? nlohmann::json(place) : nlohmann::json());
        EXPECT_TRUE((*judged)["reference_wrong_from"]["prefill"].is_null());
      }
      EXPECT_EQ(scenario["cause"]["name"], place) << scenario["cause"]["evidence"];
      EXPECT_EQ(compared["cause"], scenario["cause"]);
      EXPECT_THAT(text.output, Not(HasSubstr("within rounding of the oracle")));
      EXPECT_EQ(compared["verdict"], "diverged");
    }
  }
  const Ended bisected = tern({"bisect", "models", model_, out("wrong.gguf"), "--tokenizer", tokenizer_}, "bisect.txt");
  EXPECT_THAT(bisected.output, HasSubstr("first divergence: blk1/k_proj\n"));
}

// The one is named; of the other at least the first tensor and how many there are is said to people and to programs.
TEST_F(OnePlaceDeep, OfTwoMistakesWhatTheFirstDoesNotExplainIsSaid) {
  test::AlteredModel altered(model_);
  altered.scale("blk.1.ffn_up.weight", 3);
  altered.scale("blk.3.attn_output.weight", 2);
  ASSERT_TRUE(altered.write(out("wrong.gguf")));
  const auto run = [&](const std::string& model, const std::string& name, bool with_values) {
    std::vector<std::string> words = {"run", "--model", model, "--tokenizer", tokenizer_, "--prompt", "Count: 1,2,3,"};
    words.insert(words.end(), {"--max-tokens", "1", "--ignore-eos", "--out", out(name)});
    if (with_values) {
      words.emplace_back("--dump-tensors");
    }
    ASSERT_EQ(tern(words, "run.txt").exit_code, 0);
  };
  for (const bool with_values : {true, false}) {
    SCOPED_TRACE(with_values ? "values" : "hashes only");
    fs::remove_all(out("wrong"));
    fs::remove_all(out("right"));
    run(out("wrong.gguf"), "wrong", with_values);
    run(model_, "right", with_values);
    EXPECT_EQ(tern({"compare", out("wrong"), out("right"), "--model", model_, "--json"}, "two.json").exit_code, 1);
    const auto json = json_in(out("two.json"));
    EXPECT_EQ(json["first_divergence"]["name"], "blk1/up_proj");
    EXPECT_EQ(json["cause"]["id"], "weight_scale") << json["cause"]["evidence"];
    EXPECT_EQ(json["cause"]["name"], "blk1/up_proj");
    EXPECT_NEAR(json["cause"]["parameters"]["factor"].get<double>(), 3, 0.01);
    const auto& left = json["cause"]["unexplained"];
    ASSERT_FALSE(left.empty());
    EXPECT_EQ(left[0], "blk3/o_proj");
    const Ended text = tern({"compare", out("wrong"), out("right"), "--model", model_}, "two.txt");
    EXPECT_THAT(text.output,
                HasSubstr("\nleft wrong " +
                          (left.size() == 1 ? std::string("blk3/o_proj")
                                            : std::to_string(left.size()) + " tensors, the first is blk3/o_proj")));
  }
}

// A reference that records values only when it is asked to: its RMS shows that something is wrong, not what. It runs
// once more, with the values around the first difference.
TEST_F(OnePlaceDeep, AReferenceThatCanRecordValuesIsAskedForThemWhereTheyTell) {
  test::AlteredModel altered(model_);
  altered.change_one_weight("blk.1.attn_k.weight");
  ASSERT_TRUE(altered.write(out("wrong.gguf")));
  ASSERT_TRUE(write_file(out("engine.sh"), "exec '" + test::tern_binary().string() + "' run --ignore-eos --model " +
                                               out("wrong.gguf") +
                                               " --prompt \"$1\" --max-tokens $2 --out $3 "
                                               "${4:+--dump-tensors --around $4}\n"));
  ASSERT_TRUE(write_file(out("s.toml"), "[[scenario]]\nname = \"one\"\nprompt = \"Count: 1,2,3,\"\nmax_tokens = 3\n"));
  for (const char* ask : {"auto", "near"}) {
    SCOPED_TRACE(ask);
    const fs::path swept = out(std::string("sweep-") + ask);
    const auto sweep = [&](const std::string& around) {
      fs::remove_all(swept);
      const Ended ended = tern({"sweep", model_, tokenizer_, swept.string(), "--reference",
                                "command:sh " + out("engine.sh") + " {prompt} {max_tokens} {out}" + around,
                                "--scenarios", out("s.toml"), "--check-reference", "never", "--oracle", ask},
                               "sweep.txt");
      EXPECT_EQ(ended.exit_code, 1) << ended.output;
      return json_in(swept / "sweep.json")["scenarios"][0];
    };
    auto scenario = sweep("");
    EXPECT_NE(scenario["cause"]["id"], "weight_value");
    EXPECT_FALSE(fs::exists(swept / "one" / "cpp-near-run"));
    scenario = sweep(" '{around}'");
    EXPECT_TRUE(fs::exists(swept / "one" / "cpp-near-run" / "tensors.safetensors"));
    EXPECT_FALSE(fs::exists(swept / "one" / "cpp-run" / "tensors.safetensors"));
    EXPECT_EQ(scenario["comparison"]["first_divergence"]["name"], "blk1/k_proj");
    EXPECT_EQ(scenario["arbitration"]["wrong"], "reference");
    EXPECT_EQ(scenario["cause"]["id"], "weight_value") << scenario["cause"]["evidence"];
    EXPECT_EQ(scenario["cause"]["name"], "blk1/k_proj");
    EXPECT_EQ(scenario["cause"]["side"], "reference");
  }
}

}  // namespace
}  // namespace tern
