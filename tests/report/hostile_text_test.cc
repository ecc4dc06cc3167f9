// Text from outside stays text in every report, and commands can be pasted into a shell.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <pugixml.hpp>

#include "report/report_fixture.h"
#include "tern/base/child_process.h"
#include "tern/report/view/shell.h"
#include "tern/report/writers/escape.h"

namespace tern::report {
namespace {

using testing::HasSubstr;
using testing::Not;

// No line feed inside, no table cell ended, no code span ended, no tag opened.
const std::string kHostile = "a|b`c``\n# <script>alert(\"x\")</script> & \x01\xff _y_ [z](http://w) \xEF\xBF\xBF'";

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
