// summary.md
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/report_fixture.h"

namespace tern::report {
namespace {

using testing::HasSubstr;
using testing::Not;

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
  sweep_.reference = {"none", "", "", "", "none was found", nullptr, false, ""};
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

}  // namespace
}  // namespace tern::report
