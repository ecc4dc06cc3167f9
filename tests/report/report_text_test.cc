// report.txt
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/report_fixture.h"

namespace tern::report {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

TEST_F(ReportTest, ReportHasEverySection) {
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

}  // namespace
}  // namespace tern::report
