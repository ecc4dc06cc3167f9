// `tern selftest --draws` with the real binary.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/run_program.h"
#include "tern/base/file.h"
#include "tern/base/json.h"

namespace tern {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class DrawsCommand : public testing::Test {
 protected:
  // What it printed on stdout; `exit_code` is either that of thresholds that hold or of those that do not.
  Json draw(std::vector<std::string> arguments, const std::string& environment_threads = "2") {
    const fs::path out = folder_.path() / "out.json";
    arguments.insert(arguments.begin(), {"selftest", "--json"});
    ChildCommand command = test::tern_command(arguments, {{"RAYON_NUM_THREADS", environment_threads}});
    std::string line;
    for (const std::string& word : command.argv) {
      line += "'" + word + "' ";
    }
    command.argv = {"sh", "-c", line + "> '" + out.string() + "' 2> '" + out.string() + ".log'"};
    const test::Ended ended = test::run_program(command);
    const auto json = read_json_file(out);
    EXPECT_TRUE(json) << read_file(out.string() + ".log", 1 << 20).value_or("");
    EXPECT_EQ(ended.exit_code, json && (*json)["holds"] == true ? 0 : 1);
    return json.value_or(Json());
  }

  test::TemporaryFolder folder_;
};
using DrawsCommandDeep = DrawsCommand;

// One draw of each kind, and what is counted is what is listed.
TEST_F(DrawsCommandDeep, AreTheSameForASeedAndOthersForAnother) {
  const Json once = draw({"--draws", "20", "--seed", "5"}), again = draw({"--draws", "20", "--seed", "5"}, "1");
  EXPECT_EQ(once["format"], 1);
  ASSERT_EQ(once["draws"].size(), 20U);
  ASSERT_EQ(once["right_engines"].size(), 2U);
  EXPECT_EQ(once["draws"], again["draws"]);
  EXPECT_EQ(once["right_engines"], again["right_engines"]);
  const Json other = draw({"--draws", "20", "--seed", "6"});
  EXPECT_NE(once["draws"], other["draws"]);

  std::map<std::string, int> kinds;
  int n_placed = 0;
  for (const Json& row : once["draws"]) {
    ++kinds[row["kind"].get<std::string>()];
    n_placed += row["placed"] == true && row["hidden"] == false ? 1 : 0;
    // With values of the faulty side, the first tensor that changes leaves its tolerance: every expectation can be met.
    if (row["times_noise_floor"].is_number() && row["hidden"] == false) {
      EXPECT_GT(row["times_noise_floor"], 4) << row;
    }
    EXPECT_NE(row["expected_at"], "") << row;
    EXPECT_FALSE(row["expected"].empty()) << row;
    EXPECT_EQ(row["placed"], row["found_at"] == row["expected_at"] && row["blames_right_side"] == false) << row;
  }
  EXPECT_EQ(kinds.size(), 20U);
  EXPECT_EQ(n_placed, once["with_values"]["placed"].get<int>() + once["with_hashes"]["placed"].get<int>());
  EXPECT_EQ(once["with_values"]["draws"].get<int>() + once["with_hashes"]["draws"].get<int>(), 20);
  EXPECT_EQ(once["false_causes"], 0);
}

TEST_F(DrawsCommand, RefusesWhatIsNoNumberOfDraws) {
  for (const char* number : {"0", "-1", "many"}) {
    const auto ended = test::run_program(test::tern_command({"selftest", "--draws", number}));
    EXPECT_EQ(ended.exit_code, 2) << ended.output;
    EXPECT_THAT(ended.output, HasSubstr("--draws"));
  }
  const auto ended = test::run_program(test::tern_command({"selftest", "--seed", "3"}));
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_THAT(ended.output, HasSubstr("--seed requires --draws"));
}

}  // namespace
}  // namespace tern
