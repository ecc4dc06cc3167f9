// The parity receipt: each figure is the measured one, or null. And what all reports have in common.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "report/report_fixture.h"
#include "tern/report/writers/terminal.h"

namespace tern::report {
namespace {

using testing::HasSubstr;

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
  sweep_.reference = {"none", "", "", "", "BITNET_CPP_DIR is not set", nullptr, false, ""};
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

// With a stricter bound on the logits, less than the bound is not green.
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

}  // namespace
}  // namespace tern::report
