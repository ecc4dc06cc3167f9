#include "tern/sweep/scenarios.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tern/sweep/environment.h"

namespace tern::sweep {
namespace {

using testing::HasSubstr;

TEST(Scenarios, BuiltInOnesAreThoseOfBitNetRs) {
  const auto scenarios = builtin_scenarios();
  ASSERT_EQ(scenarios.size(), 3U);
  EXPECT_EQ(scenarios[0].name, "scenario1");
  EXPECT_EQ(scenarios[0].prompt, "2+2=");
  EXPECT_EQ(scenarios[0].max_tokens, 1);
  EXPECT_EQ(scenarios[1].prompt, "Hello");
  EXPECT_EQ(scenarios[1].max_tokens, 2);
  EXPECT_EQ(scenarios[2].prompt, "Count: 1,2,3,");
  EXPECT_EQ(scenarios[2].max_tokens, 4);
}

TEST(Scenarios, ReadsAFile) {
  const auto scenarios = parse_scenarios(
      "[[scenario]]\nname = \"a-1.x_\"\nprompt = \"H\\u00e9\\n\"\nmax_tokens = 3\ndescription = \"d\"\n"
      "[[scenario]]\nname = \"b\"\nprompt = \"\"\nmax_tokens = 1\n",
      "s.toml");
  ASSERT_TRUE(scenarios) << scenarios.error().line();
  ASSERT_EQ(scenarios->size(), 2U);
  EXPECT_EQ((*scenarios)[0].prompt, "H\xc3\xa9\n");
  EXPECT_EQ((*scenarios)[0].max_tokens, 3);
  EXPECT_EQ((*scenarios)[0].description, "d");
  EXPECT_EQ((*scenarios)[1].name, "b");
}

TEST(Scenarios, TokenIdsMayStandInThePromptsPlace) {
  const auto scenarios =
      parse_scenarios("[[scenario]]\nname = \"a\"\ntoken_ids = [1, 0, 2147483647]\nmax_tokens = 3\n", "s.toml");
  ASSERT_TRUE(scenarios) << scenarios.error().line();
  EXPECT_EQ((*scenarios)[0].prompt, "");
  EXPECT_EQ((*scenarios)[0].token_ids, (std::vector<int32_t>{1, 0, 2147483647}));
  for (const std::string ids : {"[]", "1", "\"1\"", "[-1]", "[2147483648]", "[1.0]", "[\"1\"]", "[1, [2]]"}) {
    const auto bad = parse_scenarios("[[scenario]]\nname = \"a\"\ntoken_ids = " + ids + "\nmax_tokens = 3\n", "s.toml");
    ASSERT_FALSE(bad) << ids;
    EXPECT_EQ(bad.error().where, "s.toml line 3: token_ids") << ids;
  }
  const auto both =
      parse_scenarios("[[scenario]]\nname = \"a\"\nprompt = \"\"\ntoken_ids = [1]\nmax_tokens = 3\n", "s.toml");
  ASSERT_FALSE(both);
  EXPECT_EQ(both.error().where, "s.toml line 4: token_ids");
}

struct BadFile {
  std::string toml;
  std::string place;
};

TEST(Scenarios, ErrorsNameFileLineAndKey) {
  const std::string head = "[[scenario]]\nname = \"a\"\nprompt = \"p\"\n";
  const BadFile files[] = {
      {"", "s.toml: scenario"},
      {"x = 1\n", "s.toml line 1: x"},
      {"scenario = 3\n", "s.toml: scenario"},
      {"scenario = []\n", "s.toml: scenario"},
      {"[[scenario]]\nname = \n", "s.toml line 2"},
      {head, "s.toml line 1: max_tokens"},
      {head + "max_tokens = 0\n", "s.toml line 4: max_tokens"},
      {head + "max_tokens = -1\n", "s.toml line 4: max_tokens"},
      {head + "max_tokens = 99999999999\n", "s.toml line 4: max_tokens"},
      {head + "max_tokens = \"1\"\n", "s.toml line 4: max_tokens"},
      {head + "max_tokens = 1.5\n", "s.toml line 4: max_tokens"},
      {head + "max_tokens = 1\nmax_token = 2\n", "s.toml line 5: max_token"},
      {head + "max_tokens = 1\n" + head + "max_tokens = 1\n", "s.toml line 6: name"},
      {"[[scenario]]\nname = \"a\"\nmax_tokens = 1\n", "s.toml line 1: prompt"},
      {"[[scenario]]\nname = \"a\"\nprompt = 3\nmax_tokens = 1\n", "s.toml line 3: prompt"},
      {"[[scenario]]\nname = \"a\"\nprompt = \"x\\u0000y\"\nmax_tokens = 1\n", "s.toml line 3: prompt"},
      {"[[scenario]]\nname = \"a\"\nprompt = \"\xff\"\nmax_tokens = 1\n", "s.toml line 3"},
      {"[[scenario]]\nprompt = \"p\"\nmax_tokens = 1\n", "s.toml line 1: name"},
  };
  for (const BadFile& file : files) {
    const auto scenarios = parse_scenarios(file.toml, "s.toml");
    ASSERT_FALSE(scenarios) << file.toml;
    EXPECT_EQ(scenarios.error().code, ErrorCode::kInvalidInput);
    EXPECT_TRUE(scenarios.error().where.starts_with(file.place)) << scenarios.error().line() << "\n" << file.toml;
  }
}

TEST(Scenarios, NamesMustBeSafeFolders) {
  for (const std::string name : {"", ".", "..", ".hidden", "-x", "a/b", "../x", "a b", "summary.md", "a\\\\b"}) {
    const auto scenarios =
        parse_scenarios("[[scenario]]\nname = \"" + name + "\"\nprompt = \"p\"\nmax_tokens = 1\n", "s.toml");
    ASSERT_FALSE(scenarios) << name;
    EXPECT_THAT(scenarios.error().where, "s.toml line 2: name");
  }
  EXPECT_FALSE(
      parse_scenarios("[[scenario]]\nname = \"" + std::string(65, 'x') + "\"\nprompt = \"\"\nmax_tokens = 1", "s"));
}

TEST(Environment, ThreadsAndTimeOutAreChecked) {
  EXPECT_EQ(thread_count(nullptr, nullptr), 4);
  EXPECT_EQ(thread_count(nullptr, ""), 4);
  EXPECT_EQ(thread_count(nullptr, "2"), 2);
  EXPECT_EQ(thread_count("3", "2"), 3);
  EXPECT_EQ(timeout_seconds(nullptr, nullptr), 180.0);
  EXPECT_EQ(timeout_seconds(nullptr, "0.5"), 0.5);
  EXPECT_EQ(timeout_seconds("7", "0"), 7.0);
  for (const char* bad : {"0", "-1", "x", "4x", " 4", "1e9", "nan", "inf", "99999999999999999999"}) {
    const auto threads = thread_count(nullptr, bad);
    ASSERT_FALSE(threads) << bad;
    EXPECT_EQ(threads.error().code, ErrorCode::kUsage);
    EXPECT_THAT(threads.error().line(), HasSubstr("RAYON_NUM_THREADS"));
    const auto timeout = timeout_seconds(nullptr, bad);
    ASSERT_FALSE(timeout) << bad;
    EXPECT_THAT(timeout.error().line(), HasSubstr("CROSSVAL_TIMEOUT_SECS"));
  }
  EXPECT_THAT(timeout_seconds("x", "3").error().line(), HasSubstr("--timeout"));
}

}  // namespace
}  // namespace tern::sweep
