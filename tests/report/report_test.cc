// Reports are checked for facts: that each figure is the measured one or says that there is none, that advice follows
// from what happened, and that text from outside stays text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <pugixml.hpp>
#include <set>

#include "compare/run_builder.h"
#include "tern/base/child_process.h"
#include "tern/report/view/recommendations.h"
#include "tern/report/view/shell.h"
#include "tern/report/writers/comparison.h"
#include "tern/report/writers/escape.h"
#include "tern/report/writers/terminal.h"
#include "tern/report/writers/writers.h"

namespace tern::report {
namespace {

using outcome::ParityStatus;
using outcome::ScenarioOutcome;
using outcome::SweepOutcome;
using test::RunBuilder;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// No line feed inside, no table cell ended, no code span ended, no tag opened.
const std::string kHostile = "a|b`c``\n# <script>alert(\"x\")</script> & \x01\xff _y_ [z](http://w) \xEF\xBF\xBF'";

class ReportTest : public testing::Test {
 protected:
  ReportTest() {
    sweep_.tern_version = "0.1.0";
    sweep_.timestamp = "2026-11-22T21:00:00Z";
    sweep_.output_dir = "/out";
    sweep_.command = {"tern", "sweep", "m.gguf", "t.json", "/out"};
    sweep_.model = {"m.gguf", std::string(64, 'e'), "bitnet-b1.58", "tiny", "I2_S", "bitnet.cpp", 1000};
    sweep_.tokenizer = {"t.json", std::string(64, 'f'), "gpt2", 512, {}};
    sweep_.reference = {"pack", "pack:recordings", "bitnet.cpp", "0123", "", nullptr, true, "recordings"};
    sweep_.environment = {{"BITNET_SEED", "42"}, {"cpu", "some | cpu"}};
  }

  // A scenario of two runs as the sweep would report it.
  ScenarioOutcome compared(const RunBuilder& subject, const RunBuilder& reference) const {
    const trace::EngineRun a = subject.build(folder_);
    const trace::EngineRun b = reference.build(folder_);
    ScenarioOutcome scenario = started();
    scenario.sides.subject.result = a.result;
    scenario.sides.reference.result = b.result;
    scenario.sides.subject.n_traces = a.trace.size();
    scenario.sides.reference.n_traces = b.trace.size();
    scenario.logits_dim = 4;
    scenario.comparison = compare::compare_runs(a, b);
    scenario.reason = scenario.comparison->verdict.reason;
    switch (scenario.comparison->verdict.kind) {
      case compare::VerdictKind::kMatch:
      case compare::VerdictKind::kWithinTolerance:
        scenario.status = ParityStatus::kOk;
        break;
      case compare::VerdictKind::kDiverged:
        scenario.status = ParityStatus::kDiverged;
        break;
      default:
        scenario.status = ParityStatus::kMistrusted;
    }
    return scenario;
  }
  static ScenarioOutcome started() {
    ScenarioOutcome scenario;
    scenario.scenario = {"scenario1", "2+2=", {}, 2, "Two tokens"};
    scenario.folder = "/out/scenario1";
    scenario.sides.subject.execution.command = {"tern", "run", "--prompt", "2+2="};
    scenario.sides.subject.execution.environment = {{"BITNET_TRACE_DIR", "/out/scenario1/rs-traces"}};
    scenario.sides.subject.execution.exit_code = 0;
    scenario.sides.subject.execution.timeout_s = 180;
    return scenario;
  }
  ScenarioOutcome diverged_at(const std::string& name) const {
    RunBuilder subject = RunBuilder::example();
    subject.tensors[name][0] += 0.5F;
    return compared(subject, RunBuilder::example());
  }
  ScenarioOutcome ok() const { return compared(RunBuilder::example(), RunBuilder::example()); }
  ScenarioOutcome without_reference() const {
    ScenarioOutcome scenario = ok();
    scenario.comparison.reset();
    scenario.sides.reference.result.reset();
    scenario.sides.reference.n_traces = 0;
    scenario.status = ParityStatus::kRustOnly;
    scenario.reason = "no reference";
    return scenario;
  }
  static ScenarioOutcome failed(const std::string& failure) {
    ScenarioOutcome scenario = started();
    scenario.status = ParityStatus::kSubjectFailed;
    scenario.sides.subject.execution.exit_code.reset();
    scenario.sides.subject.execution.failure = scenario.reason = failure;
    return scenario;
  }
  static ScenarioOutcome timed_out() {
    ScenarioOutcome scenario = failed("timed out after 180 s");
    scenario.sides.subject.execution.timed_out = true;
    scenario.sides.subject.execution.last_tensor = "blk3/up_proj";
    return scenario;
  }
  static ScenarioOutcome crashed() {
    ScenarioOutcome scenario = failed("killed by SIGSEGV");
    scenario.sides.subject.execution.signal = SIGSEGV;
    return scenario;
  }

  std::string text(const ScenarioOutcome& scenario) const { return report_text(view_of(sweep_, scenario)); }
  std::string summary(std::vector<ScenarioOutcome> scenarios) {
    sweep_.scenarios = std::move(scenarios);
    return summary_md(view_of(sweep_));
  }
  Json receipt(const ScenarioOutcome& scenario) const {
    return parse_json(receipt_json(view_of(sweep_, scenario)), "receipt").value();
  }
  std::string advice(const ScenarioOutcome& scenario) const {
    std::string all;
    const ScenarioView view = view_of(sweep_, scenario);
    for (const std::string& sentence : view.recommendations) {
      all += sentence + "\n";
    }
    return all;
  }

  test::TemporaryFolder folder_;
  SweepOutcome sweep_;
};

// ---- receipt

TEST_F(ReportTest, ReceiptHasTheContractsKeysWithMeasuredFigures) {
  RunBuilder subject = RunBuilder::example();
  subject.arithmetic = "another";
  subject.logits[0] = {0.05F, 1, 0.5F, 0.25F};
  const ScenarioOutcome scenario = compared(subject, RunBuilder::example());
  ASSERT_EQ(scenario.status, ParityStatus::kOk) << scenario.reason;
  const Json r = receipt(scenario);
  EXPECT_EQ(r["parity"]["status"], "ok");
  EXPECT_EQ(r["parity"]["cpp_available"], true);
  EXPECT_EQ(r["parity"]["cosine_ok"], true);
  const double cosine = r["parity"]["cosine_similarity"];
  EXPECT_NEAR(cosine, 1.3125 / std::sqrt(1.3125 * 1.315), 1e-6) << "the smallest of the three rows, not their mean";
  EXPECT_GT(r["parity"]["cosine_mean"].get<double>(), cosine);
  EXPECT_EQ(r["parity"]["exact_match_rate"], 1.0);
  EXPECT_TRUE(r["parity"]["first_divergence_step"].is_null());
  EXPECT_EQ(r["parity"]["positions_compared"], 3);
  EXPECT_EQ(r["prompt"], "2+2=");
  EXPECT_EQ(r["model_path"], "m.gguf");
  EXPECT_EQ(r["model_sha256"], std::string(64, 'e'));
  EXPECT_EQ(r["quant"]["format"], "I2_S");
  EXPECT_EQ(r["quant"]["flavor"], "bitnet.cpp");
  EXPECT_EQ(r["tokenizer"]["kind"], "gpt2");
  EXPECT_EQ(r["tokenizer"]["vocab_size"], 512);
  EXPECT_EQ(r["tokenizer"]["sha256"], std::string(64, 'f'));
  EXPECT_EQ(r["rust"]["decoded_tokens"], Json({3, 2}));
  EXPECT_EQ(r["rust"]["n_steps"], 2);
  EXPECT_EQ(r["rust"]["logits_dim"], 4);
  EXPECT_EQ(r["rust"]["token_count"], 2) << "of the prompt";
  EXPECT_EQ(r["environment"]["BITNET_SEED"], "42");
  EXPECT_EQ(r["timestamp"], "2026-11-22T21:00:00Z");
}

TEST_F(ReportTest, ReceiptWithoutReferenceHasNullsAndNoVerdictOnTokens) {
  sweep_.reference = {"none", "", "", "", "BITNET_CPP_DIR is not set", nullptr};
  const Json r = receipt(without_reference());
  EXPECT_EQ(r["parity"]["status"], "rust_only");
  EXPECT_EQ(r["parity"]["cpp_available"], false);
  for (const char* key : {"cosine_similarity", "cosine_ok", "cosine_mean", "exact_match_rate", "first_divergence_step",
                          "positions_compared", "tensors_compared", "tokens_compared", "verdict", "first_divergence"}) {
    ASSERT_TRUE(r["parity"].contains(key)) << key;
    EXPECT_TRUE(r["parity"][key].is_null()) << key;
  }
  EXPECT_EQ(r["rust"]["decoded_tokens"], Json({3, 2}));
  EXPECT_TRUE(r["cpp"]["decoded_tokens"].is_null());
}

TEST_F(ReportTest, ReceiptOfAFailedSubjectHasNoTokens) {
  const Json r = receipt(crashed());
  EXPECT_EQ(r["parity"]["status"], "subject_failed");
  EXPECT_TRUE(r["rust"]["decoded_tokens"].is_null());
  EXPECT_TRUE(r["rust"]["token_count"].is_null());
  EXPECT_TRUE(r["rust"]["logits_dim"].is_null());
  EXPECT_TRUE(r["parity"]["cosine_similarity"].is_null());
}

// The terminal, every report and the receipt, whatever each is about.
TEST_F(ReportTest, EveryOutputNamesTheSamePlaceAndWhatIsMissing) {
  RunBuilder subject = RunBuilder::example();
  subject.arithmetic = "";
  subject.tensors["blk1/q_proj"][0] = 70;
  subject.tensors.erase("t1/blk0/k_proj");
  sweep_.scenarios = {compared(subject, RunBuilder::example())};
  sweep_.scenarios[0].notes = {"the subject: a note"};
  const SweepView view = view_of(sweep_);
  const std::string outputs[] = {sweep_table(view),
                                 sweep_json(view),
                                 summary_md(view),
                                 junit_xml(view),
                                 report_text(view.scenarios[0]),
                                 receipt_json(view.scenarios[0])};
  for (const std::string& output : outputs) {
    EXPECT_THAT(output, HasSubstr("blk1/q_proj"));
    EXPECT_THAT(output, HasSubstr("the subject has not traced 1 tensor, the first is t1/blk0/k_proj"));
  }
  EXPECT_THAT(outputs[0], HasSubstr("scenario1, first divergence: blk1/q_proj\n"));
  EXPECT_THAT(outputs[0], HasSubstr("scenario1, note: the subject: a note\n"));
  EXPECT_THAT(outputs[4], HasSubstr("the subject: a note"));
  const Json r = parse_json(outputs[5], "receipt").value();
  EXPECT_EQ(r["parity"]["first_divergence"]["name"], "blk1/q_proj");
  EXPECT_EQ(r["parity"]["tensors_missing"], 1);
}

TEST_F(ReportTest, ReceiptNamesTheStepAndTheTensorThatDiverged) {
  RunBuilder subject = RunBuilder::example();
  subject.tensors["blk1/q_proj"][0] = 7;
  subject.generated_tokens = {3, 0};
  const Json r = receipt(compared(subject, RunBuilder::example()));
  EXPECT_EQ(r["parity"]["status"], "diverged");
  EXPECT_EQ(r["parity"]["first_divergence_step"], 1);
  EXPECT_EQ(r["parity"]["exact_match_rate"], 0.5);
  EXPECT_EQ(r["parity"]["first_divergence"]["name"], "blk1/q_proj");
  EXPECT_EQ(r["parity"]["first_divergence"]["layer"], 1);
}

TEST_F(ReportTest, CosineBelowTheLimitIsNotOk) {
  RunBuilder subject = RunBuilder::example();
  subject.arithmetic = "another";
  subject.logits[0] = {0.3F, 1, 0.5F, 0.25F};
  const ScenarioOutcome scenario = compared(subject, RunBuilder::example());
  EXPECT_EQ(view_of(sweep_, scenario).grade, Grade::kYellow);
  EXPECT_EQ(receipt(scenario)["parity"]["cosine_ok"], false);
  EXPECT_THAT(text(scenario), HasSubstr("yellow: minor divergence"));
}

TEST_F(ReportTest, GradesChangeExactlyAtTheirLimits) {
  EXPECT_EQ(grade_of(std::nullopt, {}), Grade::kNone);
  EXPECT_EQ(grade_of(1.0, {}), Grade::kGreen);
  EXPECT_EQ(grade_of(0.99, {}), Grade::kGreen);
  EXPECT_EQ(grade_of(0.9899999, {}), Grade::kYellow);
  EXPECT_EQ(grade_of(0.95, {}), Grade::kYellow);
  EXPECT_EQ(grade_of(0.9499999, {}), Grade::kRed);
  EXPECT_EQ(grade_of(-1.0, {}), Grade::kRed);
}

// A user who demands more of the logits is not told that less is green.
TEST_F(ReportTest, GradesByTheLimitsThatTheVerdictUsed) {
  ScenarioOutcome scenario = ok();
  EXPECT_EQ(receipt(scenario)["parity"]["cosine_ok"], true);
  scenario.comparison->cosine_grades = {.green = 1.5, .yellow = 0.5};
  EXPECT_EQ(view_of(sweep_, scenario).grade, Grade::kYellow);
  EXPECT_EQ(receipt(scenario)["parity"]["cosine_ok"], false);
  const std::string shown = summary({scenario});
  EXPECT_THAT(shown, HasSubstr("- [ ] Cosine similarity is at least 1.5 (0 of 1 scenarios)"));
  EXPECT_THAT(shown, HasSubstr("at least 1.5, ⚠️ 0.5 to 1.5, ❌ below 0.5"));
}

TEST_F(ReportTest, TheListOfWritersHasEveryReport) {
  std::set<std::string_view> files;
  for (const Writer& writer : writers()) {
    EXPECT_TRUE(files.insert(writer.file).second) << writer.file;
  }
  EXPECT_EQ(files, (std::set<std::string_view>{"logits-comparison.json", "report.txt", "sweep.json", "junit.xml",
                                               "summary.md"}));
  sweep_.scenarios = {ok()};
  ASSERT_TRUE(write_reports(view_of(sweep_), folder_.path()));
  ASSERT_TRUE(write_reports(view_of(sweep_, sweep_.scenarios[0]), folder_.path()));
  for (const std::string_view file : files) {
    EXPECT_TRUE(std::filesystem::exists(folder_.path() / file)) << file;
  }
  EXPECT_EQ(read_json_file(folder_.path() / "sweep.json").value()["format"], 1);
  EXPECT_EQ(read_json_file(folder_.path() / "logits-comparison.json").value()["format"], 1);
}

// ---- tern compare

TEST_F(ReportTest, ComparisonJsonHasTheContractsKeys) {
  const Json j = comparison_json(*diverged_at("blk1/q_proj").comparison);
  EXPECT_EQ(j["verdict"], "diverged");
  EXPECT_EQ(j["coverage"]["tensors_compared"], 34);
  EXPECT_EQ(j["coverage"]["tensors_expected"], 34);
  EXPECT_EQ(j["coverage"]["tokens_compared"], 2);
  EXPECT_EQ(j["hash_equal"], 33);
  EXPECT_EQ(j["first_divergence"]["name"], "blk1/q_proj");
  EXPECT_EQ(j["first_divergence"]["seq"], 0);
  EXPECT_EQ(j["first_divergence"]["layer"], 1);
  EXPECT_EQ(j["first_divergence"]["stage"], "q_proj");
  EXPECT_TRUE(j["cause"].is_null());
  EXPECT_EQ(j["tensors"].size(), 34u);
  EXPECT_TRUE(comparison_json(*ok().comparison)["first_divergence"].is_null());
}

TEST_F(ReportTest, ComparisonJsonSaysTokensWherePromptsDiffer) {
  RunBuilder subject = RunBuilder::example();
  subject.prompt_tokens = {1, 6};
  const ScenarioOutcome scenario = compared(subject, RunBuilder::example());
  EXPECT_EQ(comparison_json(*scenario.comparison)["first_divergence"], "tokens");
  EXPECT_THAT(advice(scenario), HasSubstr("tokenizer"));
  EXPECT_THAT(comparison_text(view_of(*scenario.comparison, true)), HasSubstr("the prompt's ids differ"));
}

TEST_F(ReportTest, ComparisonTextShowsTheFirstDivergenceAmongItsNeighbours) {
  const std::string shown = comparison_text(view_of(*diverged_at("blk1/q_proj").comparison, true));
  EXPECT_THAT(shown, HasSubstr("coverage   34 of 34 tensors, 2 of 2 tokens, 3 of 3 rows of logits"));
  EXPECT_THAT(shown, HasSubstr("first divergence: blk1/q_proj (prefill, layer 1)"));
  EXPECT_THAT(shown, HasSubstr("\n> blk1/q_proj "));
  EXPECT_THAT(shown, HasSubstr("33 equal, 1 diverged"));
  EXPECT_LT(shown.find("blk1/attn_norm"), shown.find("\n> blk1/q_proj"));
  EXPECT_LT(shown.find("\n> blk1/q_proj"), shown.find("\n  blk1/k_proj"));
  EXPECT_THAT(shown, HasSubstr("verdict: diverged: blk1/q_proj"));
  EXPECT_THAT(comparison_text(view_of(*ok().comparison, true)), HasSubstr("verdict: match\n"));
}

TEST_F(ReportTest, ComparisonAdviceIsGeneralOnAGraphThatIsNotKnown) {
  const ScenarioOutcome scenario = diverged_at("blk1/q_proj");
  EXPECT_THAT(view_of(*scenario.comparison, true).advice, HasSubstr("blk.1.attn_q.weight"));
  EXPECT_THAT(view_of(*scenario.comparison, false).advice, HasSubstr("how this node is computed"));
}

// ---- report.txt

TEST_F(ReportTest, ReportHasEverySectionOfTheMission) {
  const std::string report = text(diverged_at("blk1/q_proj"));
  for (const char* title :
       {"Test Configuration\n---", "Execution Summary\n---", "Output Comparison\n---", "Parity Metrics\n---",
        "Trace Analysis\n---", "File Locations\n---", "Recommendations\n---", "Reproduce\n---", "Environment\n---"}) {
    EXPECT_THAT(report, HasSubstr(title));
  }
  EXPECT_THAT(report, ContainsRegex("Prompt: +\"2\\+2=\"\n"));
  EXPECT_THAT(report, ContainsRegex("Token match: +diverged\n"));
  EXPECT_THAT(report, ContainsRegex("Subject tokens: +\\[3, 2\\]\n"));
  EXPECT_THAT(report, ContainsRegex("Subject ended: +exit code 0"));
  EXPECT_THAT(report, ContainsRegex("Exact match rate: +1 \\(2 of 2 tokens\\)"));
  EXPECT_THAT(report, ContainsRegex("First diverging trace: +blk1/q_proj \\(prefill, layer 1\\)"));
  EXPECT_THAT(report, HasSubstr("/out/scenario1/rs-traces/blk1_q_proj.trace"));
  EXPECT_THAT(report, HasSubstr("/out/scenario1/logits-comparison.json"));
  EXPECT_THAT(report, ContainsRegex("Seed: +42\n"));
  EXPECT_THAT(report, HasSubstr("BITNET_TRACE_DIR=/out/scenario1/rs-traces tern run --prompt 2+2=\n"));
  EXPECT_THAT(report, HasSubstr("tern compare /out/scenario1/rs-run recordings\n"));
}

TEST_F(ReportTest, ReportOfAMatchNeedsNoReproduction) {
  const std::string report = text(ok());
  EXPECT_THAT(report, Not(HasSubstr("Reproduce")));
  EXPECT_THAT(report, ContainsRegex("First diverging trace: +none\n"));
  EXPECT_THAT(report, HasSubstr("1.000000000 smallest over the rows of logits (green: excellent parity)"));
}

TEST_F(ReportTest, UnmeasuredFiguresAreNotNumbers) {
  const std::string report = text(timed_out());
  EXPECT_THAT(report, ContainsRegex("Cosine similarity: +n/a"));
  EXPECT_THAT(report, ContainsRegex("Exact match rate: +n/a\n"));
  EXPECT_THAT(report, ContainsRegex("First divergence: +n/a\n"));
  EXPECT_THAT(report, ContainsRegex("Subject tokens: +n/a\n"));
  EXPECT_THAT(report, ContainsRegex("First diverging trace: +n/a\n"));
  EXPECT_THAT(report, ContainsRegex("Subject ended: +timed out after 180 s\n"));
  EXPECT_THAT(report, ContainsRegex("Subject reached: +blk3/up_proj\n"));
}

// ---- recommendations

TEST_F(ReportTest, AdviceFollowsFromWhatHappened) {
  EXPECT_THAT(advice(ok()), HasSubstr("No action needed: 34 tensors are equal bit for bit, and all 2 tokens are."));
  EXPECT_THAT(advice(timed_out()), HasSubstr("CROSSVAL_TIMEOUT_SECS=720 (it is 180 now)"));
  EXPECT_THAT(advice(timed_out()), HasSubstr("blk3/up_proj"));
  EXPECT_THAT(advice(crashed()), HasSubstr("crashed with SIGSEGV"));
  EXPECT_THAT(advice(crashed()), HasSubstr("/out/scenario1/rs-output.txt"));
  EXPECT_THAT(advice(failed("result.json is missing")), HasSubstr("The subject failed: result.json is missing."));
  const std::string alone = advice(without_reference());
  EXPECT_THAT(alone, HasSubstr("BITNET_CPP_DIR"));
  EXPECT_THAT(alone, HasSubstr("pack:DIR"));
  EXPECT_THAT(alone, Not(HasSubstr("No action needed")));
}

TEST_F(ReportTest, AdviceOnAFailedReferenceIsAboutTheReference) {
  ScenarioOutcome scenario = ok();
  scenario.comparison.reset();
  scenario.sides.reference.result.reset();
  scenario.status = ParityStatus::kReferenceFailed;
  scenario.sides.reference.execution.timed_out = true;
  scenario.sides.reference.execution.timeout_s = 1;
  scenario.sides.reference.execution.failure = "timed out after 1 s";
  EXPECT_THAT(advice(scenario), HasSubstr("The reference did not finish within 1 s."));
  EXPECT_THAT(advice(scenario), HasSubstr("CROSSVAL_TIMEOUT_SECS=4 (it is 1 now)"));
  EXPECT_THAT(advice(scenario), Not(HasSubstr("The subject")));
  EXPECT_EQ(receipt(scenario)["parity"]["cpp_available"], true);
}

TEST_F(ReportTest, AdviceNamesTheStageAndTheMatrix) {
  const std::string projection = advice(diverged_at("blk1/q_proj"));
  EXPECT_THAT(projection, HasSubstr("Start at blk1/q_proj (prefill, layer 1)."));
  EXPECT_THAT(projection, HasSubstr("blk.1.attn_q.weight"));
  EXPECT_THAT(advice(diverged_at("blk0/down_proj")), HasSubstr("blk.0.ffn_down.weight"));
  EXPECT_THAT(advice(diverged_at("blk0/ffn_act")), HasSubstr("ReLU squared"));
  EXPECT_THAT(advice(diverged_at("output_norm")), HasSubstr("epsilon"));
  const std::string decode = advice(diverged_at("t1/blk0/q_proj"));
  EXPECT_THAT(decode, HasSubstr("Start at t1/blk0/q_proj (decode step 1, layer 0)."));
  EXPECT_THAT(decode, HasSubstr("KV cache"));
  EXPECT_THAT(projection, Not(HasSubstr("KV cache")));
}

TEST_F(ReportTest, EveryStageHasItsOwnAdvice) {
  std::vector<std::string> all;
  for (const trace::StageRow& row : trace::kStageTable) {
    const trace::TensorId id{
        .layer = row.place == trace::StagePlace::kInLayer ? 2 : -1,
        .stage = trace::Stage(row),
    };
    all.push_back(advice_on(id, true));
    EXPECT_GT(all.back().size(), 40u) << id.name();
  }
  const trace::TensorId node{.layer = 2, .stage = trace::Stage::named("ffn_moe_up", true)};
  EXPECT_THAT(advice_on(node, true), HasSubstr("this node"));
  const trace::TensorId attn_out{.layer = 2, .stage = trace::Stage::kAttnOut};
  EXPECT_THAT(advice_on(attn_out, false), HasSubstr("this node"));
  std::sort(all.begin(), all.end());
  EXPECT_GE(std::unique(all.begin(), all.end()) - all.begin(), 14);
}

TEST_F(ReportTest, AdviceOnMistrustIsNoPass) {
  RunBuilder empty = RunBuilder::example();
  empty.tensors.clear();
  const ScenarioOutcome scenario = compared(empty, RunBuilder::example());
  ASSERT_EQ(scenario.status, ParityStatus::kMistrusted);
  EXPECT_THAT(advice(scenario), HasSubstr("Do not read this as a pass"));
  EXPECT_THAT(advice(scenario), HasSubstr("The subject wrote no trace files"));
  EXPECT_THAT(advice(scenario), HasSubstr("34 of 34 tensors were not compared"));
}

TEST_F(ReportTest, TokenizerDisagreementsAreInEveryAdvice) {
  sweep_.tokenizer.disagreements = {"id 7 is \"a\" in the file and \"b\" in the GGUF"};
  EXPECT_THAT(advice(ok()), HasSubstr("id 7 is \"a\""));
  EXPECT_THAT(advice(crashed()), HasSubstr("id 7 is \"a\""));
}

// ---- summary.md

TEST_F(ReportTest, ChecklistIsComputed) {
  ScenarioOutcome many_traces = ok();
  many_traces.sides.subject.n_traces = 90;
  const std::string good = summary({many_traces, many_traces});
  EXPECT_THAT(good, HasSubstr("- [x] The engines ended well (2 of 2 scenarios)"));
  EXPECT_THAT(good, HasSubstr("- [x] Cosine similarity is at least 0.99 (2 of 2 scenarios)"));
  EXPECT_THAT(good, HasSubstr("- [x] At least 90 trace files (2 of 2 scenarios)"));
  EXPECT_THAT(good, Not(HasSubstr("- [ ]")));
  EXPECT_THAT(good, HasSubstr("**Parity** in every scenario (exit code 0)"));

  many_traces.sides.subject.n_traces = 89;
  const std::string mixed = summary({many_traces, timed_out()});
  EXPECT_THAT(mixed, HasSubstr("- [ ] The engines ended well (1 of 2 scenarios)"));
  EXPECT_THAT(mixed, HasSubstr("- [ ] Cosine similarity is at least 0.99 (1 of 2 scenarios, 1 not measured)"));
  EXPECT_THAT(mixed, HasSubstr("- [ ] At least 90 trace files (0 of 2 scenarios)"));
  EXPECT_THAT(mixed, HasSubstr("An engine failed** (exit code 4)"));
  EXPECT_THAT(mixed, HasSubstr("tern sweep m.gguf t.json /out\n"));
}

TEST_F(ReportTest, AResumedSweepSaysWhatItTookOver) {
  EXPECT_THAT(summary({timed_out()}), Not(HasSubstr("Resumed")));
  EXPECT_TRUE(parse_json(sweep_json(view_of(sweep_)), "sweep").value()["resumed"].is_null());
  sweep_.resumed = outcome::Resumption{};
  EXPECT_THAT(summary({timed_out()}), HasSubstr("- **Resumed:** nothing was there to take over\n"));
  sweep_.resumed->sections = {{"a", {"rs-run", "cpp-run"}, 0}, {"b", {"rs-run"}, 1}, {"c", {}, 2}};
  sweep_.resumed->run_again = {"c/rs-run: damaged"};
  EXPECT_THAT(summary({timed_out()}), HasSubstr("- **Resumed:** took over all of a; rs-run of b\n"));
  const Json resumed = parse_json(sweep_json(view_of(sweep_)), "sweep").value()["resumed"];
  EXPECT_EQ(resumed["sections"][1]["of"], "b");
  EXPECT_EQ(resumed["sections"][1]["runs_taken_over"], Json({"rs-run"}));
  EXPECT_EQ(resumed["sections"][1]["runs_done"], 1);
  EXPECT_EQ(resumed["run_again"], Json({"c/rs-run: damaged"}));
}

TEST_F(ReportTest, RustOnlyIsNoParity) {
  sweep_.reference = {"none", "", "", "", "none was found", nullptr};
  const std::string alone = summary({without_reference()});
  EXPECT_THAT(alone, HasSubstr("the subject ran and was not compared (exit code 0)"));
  EXPECT_THAT(alone, HasSubstr("- [ ] Exact match rate is 1.0 (0 of 1 scenarios, 1 not measured)"));
  EXPECT_THAT(alone, Not(HasSubstr("cpp-traces")));
  sweep_.reference_required = true;
  EXPECT_THAT(summary({without_reference()}), HasSubstr("No verdict possible** (exit code 5)"));
}

TEST_F(ReportTest, SummaryTableHasARowPerScenario) {
  const std::string page = summary({ok(), diverged_at("blk1/q_proj"), crashed()});
  EXPECT_THAT(page, HasSubstr("| ✅ `ok` | 1 | 1.000000000 ✅ | 34 | none |"));
  EXPECT_THAT(page, HasSubstr("| ❌ `diverged` | 1 | 1.000000000 ✅ | 34 | `blk1/q_proj` |"));
  EXPECT_THAT(page, HasSubstr("| ❌ `subject_failed` | n/a | n/a  | 0 | n/a |"));
  EXPECT_THAT(page, HasSubstr("`some \\| cpu`"));
}

// ---- text from outside

TEST_F(ReportTest, HostileTextStaysTextInMarkdown) {
  EXPECT_EQ(markdown_text("a|b`*c*<d>\n"), "a&#124;b&#96;&#42;c&#42;&#60;d&#62;&#92;x0a");
  EXPECT_EQ(markdown_text("attn_norm _x_"), "attn_norm &#95;x&#95;");
  EXPECT_EQ(markdown_code("a`b", Place::kText), "``a`b``");
  EXPECT_EQ(markdown_code("`", Place::kText), "`` ` ``");
  EXPECT_EQ(markdown_code("a|b", Place::kTableCell), "`a\\|b`");
  ScenarioOutcome scenario = diverged_at("blk1/q_proj");
  scenario.scenario.prompt = kHostile;
  scenario.reason = kHostile;
  scenario.sides.subject.execution.command.back() = kHostile;
  sweep_.model.path = kHostile;
  sweep_.reference.note = kHostile;
  sweep_.environment["cpu"] = kHostile;
  const std::string page = summary({scenario});
  EXPECT_THAT(page, Not(HasSubstr("\n# <script>")));
  const size_t row = page.find("| scenario1 |");
  const std::string line = page.substr(row, page.find('\n', row) - row);
  size_t n_cells = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    n_cells += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
  }
  EXPECT_EQ(n_cells, 10u) << line;
}

TEST_F(ReportTest, HostileTextStaysOneLineInTheReport) {
  ScenarioOutcome scenario = ok();
  scenario.scenario.prompt = "x\nToken match:          ok\x1b[31m";
  scenario.status = ParityStatus::kDiverged;
  const std::string report = text(scenario);
  EXPECT_EQ(report.find("\nToken match:          ok"), std::string::npos);
  EXPECT_EQ(report.find('\x1b'), std::string::npos);
}

TEST_F(ReportTest, CommandsCanBePasted) {
  EXPECT_EQ(shell_line({}, {"tern", "a b", "it's", "x\ny'", "", "$HOME"}),
            "tern 'a b' 'it'\\''s' \"$(printf 'x\\012y\\047')\" '' '$HOME'");
  EXPECT_EQ(shell_line({{"A", "1 2"}}, {"b"}), "A='1 2' b");
}

TEST_F(ReportTest, AShellReadsTheWordsAgain) {
  const std::vector<std::string> words = {"a b",      "it's",       "\"$HOME\" `ls` \\n %s !",
                                          "Grüße",    "line\nfeed", "\n",
                                          "ends\n\n", "tab\t%d\\'", kHostile,
                                          "\xff\xfe", "",           "-n",
                                          "~",        "*"};
  std::vector<std::string> command = {"printf", "<%s>"};
  command.insert(command.end(), words.begin(), words.end());
  std::string expected;
  for (const std::string& word : words) {
    expected += "<" + word + ">";
  }
  ChildCommand child;
  child.argv = {"sh", "-c", shell_line({{"A", "x y"}}, command)};
  EXPECT_EQ(run_child(child).value().output_tail, expected);
}

TEST_F(ReportTest, EveryReportOfAFailureHasItsRepro) {
  sweep_.repro.command = {"/bin/tern", "sweep", "/my models/m.gguf", "/t.json"};
  sweep_.repro.environment = {{"TERN_ISA", "scalar"}};
  sweep_.repro.output_dir = "/out";
  const std::string line =
      "TERN_ISA=scalar /bin/tern sweep '/my models/m.gguf' /t.json /out-scenario1-repro --only scenario1";
  const ScenarioOutcome scenario = diverged_at("blk1/q_proj");
  EXPECT_EQ(view_of(sweep_, scenario).repro, line);
  EXPECT_THAT(text(scenario), HasSubstr("\n  " + line + "\n"));
  EXPECT_THAT(summary({scenario}), HasSubstr("\n" + line + "\n"));
  EXPECT_EQ(receipt(scenario)["repro"], line);
  EXPECT_EQ(parse_json(sweep_json(view_of(sweep_)), "sweep").value()["scenarios"][0]["repro"], line);
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(junit_xml(view_of(sweep_)).c_str()));
  EXPECT_THAT(document.child("testsuites").child("testsuite").child("testcase").child("failure").text().get(),
              HasSubstr("To reproduce: " + line + "\n"));

  EXPECT_NE(view_of(sweep_, timed_out()).repro, "");
  EXPECT_EQ(view_of(sweep_, ok()).repro, "");
  EXPECT_EQ(view_of(sweep_, without_reference()).repro, "");
  EXPECT_TRUE(receipt(ok())["repro"].is_null());
  sweep_.reference_required = true;
  EXPECT_NE(view_of(sweep_, without_reference()).repro, "");
  sweep_.repro.working_dir = "/my work";
  EXPECT_EQ(view_of(sweep_, scenario).repro, "(cd '/my work' && " + line + ")");
}

TEST_F(ReportTest, HostileTextStaysTextInXmlAndJson) {
  ScenarioOutcome scenario = diverged_at("blk1/q_proj");
  scenario.scenario.prompt = kHostile;
  scenario.reason = kHostile;
  sweep_.scenarios = {scenario, ok(), crashed(), without_reference()};
  const std::string xml = junit_xml(view_of(sweep_));
  pugi::xml_document document;
  ASSERT_TRUE(document.load_buffer(xml.data(), xml.size()));
  const pugi::xml_node suite = document.child("testsuites").child("testsuite");
  EXPECT_STREQ(suite.attribute("tests").value(), "4");
  EXPECT_STREQ(suite.attribute("failures").value(), "1");
  EXPECT_STREQ(suite.attribute("errors").value(), "1");
  EXPECT_STREQ(suite.attribute("skipped").value(), "1");
  const std::string message = suite.child("testcase").child("failure").attribute("message").value();
  EXPECT_THAT(message, HasSubstr("<script>alert(\"x\")</script>"));
  EXPECT_FALSE(suite.child("testcase").child("script"));
  EXPECT_TRUE(std::none_of(xml.begin(), xml.end(), [](char c) { return c >= 0 && c < 0x20 && c != '\n'; }));
  EXPECT_EQ(xml.find("\xEF\xBF\xBF"), std::string::npos);
  EXPECT_EQ(xml.find('\xff'), std::string::npos);
  EXPECT_TRUE(parse_json(receipt_json(view_of(sweep_, scenario)), "receipt"));
  EXPECT_TRUE(parse_json(sweep_json(view_of(sweep_)), "sweep"));
}

TEST_F(ReportTest, SweepJsonHasEverything) {
  sweep_.scenarios = {diverged_at("blk1/q_proj"), timed_out()};
  const Json j = parse_json(sweep_json(view_of(sweep_)), "sweep").value();
  EXPECT_EQ(j["exit_code"], 4);
  EXPECT_EQ(j["scenarios"].size(), 2u);
  const Json& first = j["scenarios"][0];
  EXPECT_EQ(first["parity"]["status"], "diverged");
  EXPECT_EQ(first["comparison"]["tensors"].size(), 34u);
  EXPECT_EQ(first["subject"]["execution"]["exit_code"], 0);
  EXPECT_TRUE(first["reference"]["execution"].is_null()) << "a pack: nothing was run";
  EXPECT_EQ(first["subject"]["traces"], 34);
  const Json& second = j["scenarios"][1];
  EXPECT_EQ(second["subject"]["execution"]["timed_out"], true);
  EXPECT_TRUE(second["subject"]["execution"]["exit_code"].is_null());
  EXPECT_TRUE(second["comparison"].is_null());
  EXPECT_THAT(second["recommendations"][0].get<std::string>(), HasSubstr("CROSSVAL_TIMEOUT_SECS"));
}

}  // namespace
}  // namespace tern::report
