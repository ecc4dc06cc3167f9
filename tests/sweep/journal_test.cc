#include "tern/sweep/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"

namespace tern::sweep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

KeptRun run_named(const std::string& name) {
  KeptRun kept;
  kept.name = name;
  kept.request = {{"prompt", "2+2="}, {"max_tokens", 1}};
  kept.folder = "/out/.scenario1.partial-7";
  kept.run.command = {"sh", "engine.sh", "a \"quoted\"\nword"};
  kept.run.environment = {{"BITNET_SEED", "42"}};
  kept.run.process = ChildResult{};
  kept.run.process->exit_code = 6;
  kept.run.process->wall_s = 0.25;
  kept.run.process->peak_rss_bytes = 4096;
  kept.run.failure = "ended with exit code 6";
  kept.run.last_tensor = "blk0/out";
  kept.run.n_traces = 19;
  kept.n_bytes = 12345;
  return kept;
}

const Json kAsked = {{"model", {{"SHA-256", "ab"}}}, {"--threads", 4}, {"scenarios", {{{"name", "a"}}}}};

TEST(Journal, WhatWasWrittenIsRead) {
  KeptRun killed = run_named("scenario1/cpp-run");
  killed.run.process->exit_code.reset();
  killed.run.process->signal = 11;
  killed.run.process->timed_out = true;
  killed.run.last_tensor.reset();
  const std::string text = journal_head(kAsked) + journal_line(run_named("scenario1/rs-run")) + journal_line(killed);
  const auto journal = parse_journal(text, "journal.jsonl");
  ASSERT_TRUE(journal) << journal.error().line();
  EXPECT_FALSE(find_difference(journal->sweep, kAsked));
  EXPECT_EQ(journal->n_bytes, text.size());
  ASSERT_EQ(journal->runs.size(), 2U);
  const KeptRun& first = journal->runs[0];
  const KeptRun expected = run_named("scenario1/rs-run");
  EXPECT_EQ(first.name, expected.name);
  EXPECT_FALSE(find_difference(first.request, expected.request));
  EXPECT_EQ(first.folder, expected.folder);
  EXPECT_EQ(first.run.command, expected.run.command);
  EXPECT_EQ(first.run.environment, expected.run.environment);
  EXPECT_EQ(first.run.process->exit_code, 6);
  EXPECT_EQ(first.run.process->wall_s, 0.25);
  EXPECT_EQ(first.run.process->peak_rss_bytes, 4096U);
  EXPECT_EQ(first.run.failure, expected.run.failure);
  EXPECT_EQ(first.run.last_tensor, "blk0/out");
  EXPECT_EQ(first.run.n_traces, 19U);
  EXPECT_EQ(first.n_bytes, 12345U);
  EXPECT_FALSE(journal->runs[1].run.process->exit_code);
  EXPECT_EQ(journal->runs[1].run.process->signal, 11);
  EXPECT_TRUE(journal->runs[1].run.process->timed_out);
  EXPECT_FALSE(journal->runs[1].run.last_tensor);
}

TEST(Journal, CutAnywhereItHoldsItsWholeLines) {
  const std::string head = journal_head(kAsked);
  const std::string text = head + journal_line(run_named("a/rs-run")) + journal_line(run_named("b/rs-run"));
  for (size_t n = 0; n <= text.size(); ++n) {
    const auto journal = parse_journal(std::string_view(text).substr(0, n), "journal.jsonl");
    ASSERT_TRUE(journal) << n << ": " << journal.error().line();
    EXPECT_EQ(journal->sweep.is_null(), n < head.size()) << n;
    EXPECT_EQ(journal->n_bytes, n == 0 ? 0 : text.rfind('\n', n - 1) + 1) << n;
  }
}

struct BadLine {
  std::string text;
  std::string message;
};

TEST(Journal, ErrorsNameTheLineAndTheCause) {
  const std::string head = journal_head(kAsked);
  const std::string line = journal_line(run_named("a/rs-run"));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string changed = line;
    EXPECT_NE(changed.find(from), std::string::npos) << from;
    return head + line + changed.replace(changed.find(from), from.size(), to);
  };
  const BadLine lines[] = {
      {"\n", "j line 1 @ byte 1: is not valid JSON"},
      {"[]\n", "j line 1: is not a JSON object"},
      {line, "j line 1: has no key \"journal\""},
      {"{\"journal\":2,\"sweep\":{}}\n", "j line 1: key \"journal\" is not an integer from 1 to 1"},
      {"{\"journal\":1}\n", "j line 1: has no key \"sweep\""},
      {"{\"journal\":1,\"sweep\":[]}\n", "j line 1: key \"sweep\" is not an object"},
      {head + "{\"run\n" + line, "j line 2 @ byte"},
      {head + line + "null\n", "j line 3: is not a JSON object"},
      {head + line + "\xff\n", "j line 3 @ byte"},
      {with("\"run\":\"a/rs-run\"", "\"run\":3"), "j line 3: key \"run\" is not a string"},
      {with("\"request\"", "\"requests\""), "j line 3: has no key \"request\""},
      {with("[\"sh\",", "[3,"), "j line 3: key \"command\" is not an array of strings"},
      {with("{\"BITNET_SEED\":\"42\"}", "[\"x\"]"), "j line 3: key \"environment\" is not an object of strings"},
      {with("\"exit_code\":6", "\"exit_code\":99999999999"), "j line 3: key \"exit_code\" is not an integer"},
      {with("\"timed_out\":false", "\"timed_out\":0"), "j line 3: key \"timed_out\" is neither true nor false"},
      {with("0.25", "\"0.25\""), "j line 3: key \"wall_s\" is not a number"},
      {with("\"peak_rss_bytes\":4096", "\"peak_rss_bytes\":-1"), "j line 3: key \"peak_rss_bytes\" is not an integer"},
      {with("\"last_tensor\":\"blk0/out\"", "\"last_tensor\":1"), "j line 3: key \"last_tensor\" is not a string"},
      {with("12345", "1e99"), "j line 3: key \"bytes\" is not an integer"},
  };
  for (const BadLine& bad : lines) {
    const auto journal = parse_journal(bad.text, "j");
    ASSERT_FALSE(journal) << bad.text;
    EXPECT_EQ(journal.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(journal.error().line(), HasSubstr(bad.message));
  }
}

TEST(Journal, OfAnEarlierReleaseIsRead) {
  const fs::path path = test::source_dir() / "tests" / "data" / "earlier_release" / "journal.jsonl";
  const auto text = read_file(path, uint64_t{1} << 20);
  ASSERT_TRUE(text) << text.error().line();
  const auto journal = parse_journal(*text, path.string());
  ASSERT_TRUE(journal) << journal.error().line();
  EXPECT_EQ(journal->sweep["tern"]["version"], "0.1.0");
  ASSERT_EQ(journal->runs.size(), 1U);
  EXPECT_EQ(journal->runs[0].name, "hi/rs-run");
  EXPECT_EQ(journal->runs[0].run.n_traces, 75U);
}

TEST(Journal, OfALaterReleaseIsRefused) {
  const auto journal = parse_journal("{\"format\":3,\"sweep\":{}}\n", "j");
  ASSERT_FALSE(journal);
  EXPECT_THAT(journal.error().line(), HasSubstr("j line 1: has format 3, and this tern reads formats up to 2"));
}

TEST(Journal, TheFirstDifferenceIsNamed) {
  const auto difference = [](const Json& now) {
    const auto found = find_difference(kAsked, now);
    return found ? found->item + " " + found->earlier + " " + found->now : "none";
  };
  Json now = kAsked;
  EXPECT_EQ(difference(now), "none");
  now["--threads"] = 2;
  EXPECT_EQ(difference(now), "--threads 4 2");
  now["model"]["SHA-256"] = "cd";
  EXPECT_EQ(difference(now), "model: SHA-256 \"ab\" \"cd\"");
  now = kAsked;
  now["scenarios"][0]["name"] = "b";
  EXPECT_EQ(difference(now), "scenarios: 1: name \"a\" \"b\"");
  now["scenarios"] = Json::array();
  EXPECT_EQ(difference(now), "scenarios [{\"name\":\"a\"}] []");
  now = kAsked;
  now.erase("model");
  EXPECT_EQ(difference(now), "model {\"SHA-256\":\"ab\"} null");
  now = kAsked;
  now["new"] = true;
  EXPECT_EQ(difference(now), "new null true");
}

}  // namespace
}  // namespace tern::sweep
