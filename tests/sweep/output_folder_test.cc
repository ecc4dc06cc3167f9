// What a sweep may and may not do to an output directory that was used before.
#include "tern/sweep/output_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"

namespace tern::sweep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

void write_scenario(const fs::path& folder, const std::string& report) {
  ASSERT_TRUE(write_file(folder / "report.txt", report));
  ASSERT_TRUE(write_file(folder / "logits-comparison.json", "{}"));
  ASSERT_TRUE(write_file(folder / "rs-output.txt", ""));
  ASSERT_TRUE(write_file(folder / "rs-traces" / "embeddings.trace", "{}"));
  ASSERT_TRUE(write_file(folder / "oracle-run" / "result.json", "{}"));
}

std::string report_in(const fs::path& folder) { return read_file(folder / "report.txt", 1000).value_or("none"); }

// A sweep that commits these scenarios.
Status sweep_into(const fs::path& path, const std::vector<std::string>& names, const std::string& report) {
  TERN_ASSIGN_OR_RETURN(OutputFolder output, OutputFolder::open(path, names));
  for (const std::string& name : names) {
    TERN_ASSIGN_OR_RETURN(const fs::path partial, output.begin(name));
    write_scenario(partial, report);
    TERN_RETURN_IF_ERROR(output.commit());
  }
  return write_file(path / "sweep.json", report);
}

TEST(OutputFolder, TwoSweepsCannotShareOne) {
  const test::TemporaryFolder folder;
  const auto first = OutputFolder::open(folder.path() / "out", {"a"});
  ASSERT_TRUE(first);
  const auto second = OutputFolder::open(folder.path() / "out", {"b"});
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().line(), HasSubstr("another sweep"));
}

TEST(OutputFolder, APathThatCannotBeAFolderIsAnIoError) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "file", ""));
  for (const fs::path& path : {folder.path() / "file", folder.path() / "file" / "below", fs::path("/proc/nowhere")}) {
    const auto output = OutputFolder::open(path, {"a"});
    ASSERT_FALSE(output) << path;
    EXPECT_EQ(output.error().code, ErrorCode::kIo);
  }
}

TEST(OutputFolder, AnUnusedOneIsNotLeftBehind) {
  const test::TemporaryFolder folder;
  { ASSERT_TRUE(OutputFolder::open(folder.path() / "out", {"a"})); }
  EXPECT_FALSE(fs::exists(folder.path() / "out"));
}

TEST(OutputFolder, AnEmptyPathIsAUsageError) {
  const auto output = OutputFolder::open("", {"a"});
  ASSERT_FALSE(output);
  EXPECT_EQ(output.error().code, ErrorCode::kUsage);
  EXPECT_THAT(output.error().line(), HasSubstr("output directory"));
}

TEST(OutputFolder, HoldsOneSweepOnly) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(sweep_into(folder.path(), {"a", "b"}, "first"));
  ASSERT_TRUE(sweep_into(folder.path(), {"b", "c"}, "second"));
  EXPECT_THAT(test::names_in(folder.path()), UnorderedElementsAre("b", "c", "sweep.json"));
  EXPECT_EQ(report_in(folder.path() / "b"), "second");
  EXPECT_EQ(report_in(folder.path() / "c"), "second");
}

TEST(OutputFolder, WhatNoSweepHasMadeStays) {
  const test::TemporaryFolder folder;
  const fs::path out = folder.path() / "out";
  ASSERT_TRUE(sweep_into(out, {"annotated", "linked-to", "plain"}, "first"));
  ASSERT_TRUE(write_file(out / "annotated" / "notes.txt", "precious"));
  fs::rename(out / "linked-to", folder.path() / "archive");
  fs::create_directory_symlink(folder.path() / "archive", out / "linked-to");
  ASSERT_TRUE(write_file(out / "report.txt", "precious"));
  ASSERT_TRUE(write_file(out / "only-a-report" / "report.txt", "precious"));
  fs::create_directory(out / "empty");
  ASSERT_TRUE(sweep_into(out, {"new"}, "second"));
  EXPECT_THAT(test::names_in(out), UnorderedElementsAre("annotated", "linked-to", "report.txt", "only-a-report",
                                                        "empty", "new", "sweep.json"));
  EXPECT_EQ(report_in(out / "annotated"), "first");
  EXPECT_EQ(report_in(folder.path() / "archive"), "first");
}

TEST(OutputFolder, FilesOfOthersInAScenarioAreNotLostWithIt) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(sweep_into(folder.path(), {"a"}, "first"));
  ASSERT_TRUE(write_file(folder.path() / "a" / "notes.txt", "precious"));
  const Status swept = sweep_into(folder.path(), {"a"}, "second");
  ASSERT_FALSE(swept);
  EXPECT_EQ(swept.error().code, ErrorCode::kIo);
  EXPECT_THAT(swept.error().line(), HasSubstr("notes.txt"));
  EXPECT_EQ(report_in(folder.path() / "a"), "first");
}

TEST(OutputFolder, TheEarlierSweepStaysUntilSomethingTakesItsPlace) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(sweep_into(folder.path(), {"a", "b"}, "first"));
  {
    auto output = OutputFolder::open(folder.path(), {"b", "c"});
    ASSERT_TRUE(output && output->begin("b"));
  }
  EXPECT_THAT(test::names_in(folder.path()), UnorderedElementsAre("a", "b", "sweep.json"));
}

TEST(OutputFolder, AFailedReplacementBringsTheEarlierFolderBack) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(sweep_into(folder.path(), {"a"}, "first"));
  {
    auto output = OutputFolder::open(folder.path(), {"a"});
    ASSERT_TRUE(output);
    fs::remove_all(output->begin("a").value());  // the second rename has nothing to move
    const Status committed = output->commit();
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code, ErrorCode::kIo);
  }
  EXPECT_THAT(test::names_in(folder.path()), UnorderedElementsAre("a", "sweep.json"));
  EXPECT_EQ(report_in(folder.path() / "a"), "first");
}

TEST(OutputFolder, WhatAKilledSweepWasReplacingIsPutBack) {
  const test::TemporaryFolder folder;
  write_scenario(folder.path() / ".a.replaced-1", "first");
  write_scenario(folder.path() / ".a.partial-1", "half");
  write_scenario(folder.path() / ".b.replaced-1", "older");
  write_scenario(folder.path() / "b", "newer");
  { ASSERT_TRUE(OutputFolder::open(folder.path(), {"a", "b"})); }
  EXPECT_THAT(test::names_in(folder.path()), UnorderedElementsAre("a", "b"));
  EXPECT_EQ(report_in(folder.path() / "a"), "first");
  EXPECT_EQ(report_in(folder.path() / "b"), "newer");
}

}  // namespace
}  // namespace tern::sweep
