#include "tern/app/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <vector>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/gguf/writer.h"

namespace tern::app {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string recording(const std::string& name) { return (test::golden_dir() / "tiny-i2_s" / name).string(); }

Comparison compared(const CompareOptions& options) {
  const Interrupt interrupt;
  auto comparison = compare_recordings(options, interrupt);
  EXPECT_TRUE(comparison && *comparison);
  return comparison && *comparison ? std::move(**comparison) : Comparison();
}

TEST(Compare, TwoEqualRecordingsMatch) {
  CompareOptions options;
  options.subject = options.reference = recording("scenario1");
  const Comparison comparison = compared(options);
  EXPECT_EQ(comparison.exit_code, 0);
  EXPECT_EQ(comparison.repro, "");
  const Json json = to_json(comparison);
  EXPECT_EQ(json["format"], 1);
  EXPECT_EQ(json["verdict"], "match");
  EXPECT_TRUE(json["arbitration"].is_null() && json["no_arbitration_because"].is_null());
  EXPECT_TRUE(json["wrong"].is_null());
  EXPECT_EQ(json["subject"]["path"], options.subject);
  EXPECT_THAT(to_text(comparison), HasSubstr("verdict: match\n"));
}

// A copy of a recording whose result.json has been changed.
fs::path changed_copy(const test::TemporaryFolder& folder, const std::string& name,
                      const std::function<void(Json&)>& change) {
  const fs::path copy = folder.path() / name;
  fs::copy(recording("scenario1"), copy, fs::copy_options::recursive);
  Json result = *read_json_file(copy / "result.json");
  change(result);
  EXPECT_TRUE(write_file(copy / "result.json", to_json_text(result)));
  return copy;
}

TEST(Compare, OtherPromptsAreAUsageErrorThatShowsBoth) {
  CompareOptions options;
  options.subject = recording("scenario1");
  options.reference = recording("scenario2");
  const Interrupt interrupt;
  const auto comparison = compare_recordings(options, interrupt);
  ASSERT_FALSE(comparison);
  EXPECT_EQ(comparison.error().code, ErrorCode::kUsage);
  const std::string first = *json_string(*read_json_file(recording("scenario1") + "/result.json"), "prompt", "x");
  const std::string second = *json_string(*read_json_file(recording("scenario2") + "/result.json"), "prompt", "x");
  EXPECT_THAT(comparison.error().line(), AllOf(HasSubstr("\"" + first + "\""), HasSubstr("\"" + second + "\"")));
}

TEST(Compare, OtherIdsOfOnePromptDivergeAndHowToReproduceItIsTold) {
  const test::TemporaryFolder folder;
  CompareOptions options;
  options.subject = changed_copy(folder, "doubled", [](Json& result) {
    result["prompt"] = "<|begin_of_text|>" + result["prompt"].get<std::string>();
    result["prompt_tokens"][0] = result["prompt_tokens"][0].get<int>() + 1;
  });
  options.reference = recording("scenario1");
  const Comparison comparison = compared(options);
  EXPECT_EQ(comparison.exit_code, 1);
  EXPECT_EQ(to_json(comparison)["first_divergence"], "tokens");
  EXPECT_THAT(comparison.repro, HasSubstr("compare " + options.subject + " " + options.reference));
  EXPECT_THAT(to_text(comparison), HasSubstr("\nto reproduce: "));
}

// An engine that stops tracing after its first layer, beside one that does not.
TEST(Compare, WhatWasNotComparedIsNoPassUnlessItIsAllowed) {
  const test::TemporaryFolder folder;
  const fs::path partial = changed_copy(folder, "partial", [](Json& result) { result.erase("arithmetic"); });
  const std::string lines = *read_file(partial / "trace.jsonl", 1 << 24);
  std::string kept;
  size_t n_left_out = 0;
  for (size_t begin = 0; begin < lines.size(); begin = lines.find('\n', begin) + 1) {
    const std::string line = lines.substr(begin, lines.find('\n', begin) + 1 - begin);
    const bool later = line.find("blk1/") != std::string::npos || line.find("blk2/") != std::string::npos ||
                       line.find("blk3/") != std::string::npos;
    n_left_out += later;
    kept += later ? "" : line;
  }
  ASSERT_GT(n_left_out, 10U);
  ASSERT_TRUE(write_file(partial / "trace.jsonl", kept));
  fs::remove(partial / "tensors.safetensors");
  CompareOptions options;
  options.subject = partial;
  options.reference = recording("scenario1");
  const Comparison comparison = compared(options);
  EXPECT_EQ(comparison.exit_code, 5);
  const Json json = to_json(comparison);
  EXPECT_EQ(json["coverage"]["tensors_missing"], n_left_out);
  EXPECT_THAT(to_text(comparison), HasSubstr(std::to_string(n_left_out) + " missing: the subject has not traced " +
                                             std::to_string(n_left_out) + " tensors, the first is blk1/"));
  options.allow_missing = {"blk[1-3]/*"};
  EXPECT_EQ(compared(options).exit_code, 0);
  EXPECT_EQ(to_json(compared(options))["coverage"]["tensors_allowed_missing"], n_left_out);
  // Where both leave the same out, the model's graph still has it.
  options.allow_missing.clear();
  options.reference = partial;
  EXPECT_EQ(compared(options).exit_code, 0) << "nothing says what there should be";
  options.model = (test::golden_dir() / "models" / "tiny-i2_s.gguf").string();
  options.ask = AskOracle::kNever;
  EXPECT_EQ(compared(options).exit_code, 5);
}

struct LevelCase {
  const char* what;
  std::vector<const char*> removed;           // files of the subject
  std::optional<trace::Level> stated, asked;  // by the subject, by the user
  const char* level;                          // of the verdict
  const char* verdict;
};

// Recordings of engines that can be compared on less than tensors.
TEST(Compare, TheLevelSaysWhatMustBeComparedForAPass) {
  using enum trace::Level;
  const char* const kTrace = "trace.jsonl";
  const char* const kLogitsFile = "logits.safetensors";
  const LevelCase cases[] = {
      {"no trace, nothing stated", {kTrace}, {}, {}, "tensors", "mistrusted"},
      {"no trace, logits asked for", {kTrace}, {}, kLogits, "logits", "match"},
      {"no trace, logits stated", {kTrace}, kLogits, {}, "logits", "match"},
      {"no trace, logits stated, tensors asked for", {kTrace}, kLogits, kTensors, "tensors", "mistrusted"},
      {"no logits, logits asked for", {kTrace, kLogitsFile}, {}, kLogits, "logits", "mistrusted"},
      {"no logits, tokens asked for", {kTrace, kLogitsFile}, {}, kTokens, "tokens", "match"},
      {"no logits, tokens stated", {kTrace, kLogitsFile}, kTokens, {}, "tokens", "match"},
      {"all there, tokens asked for", {}, {}, kTokens, "tokens", "match"},
      {"all there, more stated than there is to ask for", {}, kTensors, {}, "tensors", "match"},
  };
  const test::TemporaryFolder folder;
  for (const LevelCase& c : cases) {
    SCOPED_TRACE(c.what);
    const fs::path subject = changed_copy(folder, c.what, [&](Json& result) {
      if (c.stated) {
        result["level"] = trace::level_name(*c.stated);
      }
    });
    fs::remove(subject / "tensors.safetensors");
    for (const char* file : c.removed) {
      ASSERT_TRUE(fs::remove(subject / file)) << file;
    }
    CompareOptions options;
    options.subject = subject;
    options.reference = recording("scenario1");
    options.level = c.asked;
    const Comparison comparison = compared(options);
    const Json json = to_json(comparison);
    EXPECT_EQ(json["level"], c.level);
    EXPECT_EQ(json["verdict"], c.verdict) << json["reason"];
    EXPECT_THAT(to_text(comparison), HasSubstr(std::string("level      ") + c.level + " ("));
  }
}

// The level says what must be there, not what may differ.
TEST(Compare, ADifferenceBeyondTheLevelIsOneAllTheSame) {
  const test::TemporaryFolder folder;
  CompareOptions options;
  options.subject = changed_copy(folder, "other", [](Json&) {});
  fs::remove(fs::path(options.subject) / "tensors.safetensors");
  std::string lines = *read_file(fs::path(options.subject) / "trace.jsonl", 1 << 24);
  const size_t key = lines.find("\"blake3\"", lines.find("\"blk1/ffn_inp\""));
  ASSERT_NE(key, std::string::npos);
  const size_t hash = lines.find('"', lines.find(':', key)) + 1;
  lines[hash] = lines[hash] == '0' ? '1' : '0';
  ASSERT_TRUE(write_file(fs::path(options.subject) / "trace.jsonl", lines));
  options.reference = recording("scenario1");
  options.exact = true;
  options.level = trace::Level::kTokens;
  const Comparison comparison = compared(options);
  EXPECT_EQ(comparison.exit_code, 1);
  EXPECT_EQ(to_json(comparison)["first_divergence"]["name"], "blk1/ffn_inp");
  EXPECT_THAT(comparison.repro, HasSubstr("--level tokens"));
}

TEST(Compare, APatternThatMatchesNothingIsAUsageError) {
  const test::TemporaryFolder folder;
  CompareOptions options;
  options.subject = options.reference = recording("scenario1");
  options.tolerances = (folder.path() / "t.toml").string();
  const auto code_of = [&](const std::string& stage) {
    EXPECT_TRUE(write_file(options.tolerances, "[[tolerance]]\nstage = \"" + stage + "\"\nmax_relative_error = 1\n"));
    const Interrupt interrupt;
    const auto comparison = compare_recordings(options, interrupt);
    return comparison ? 0 : exit_code(comparison.error().code);
  };
  EXPECT_EQ(code_of("atn_*"), 2);
  EXPECT_EQ(code_of("blk77/*"), 2);
  EXPECT_EQ(code_of("attn_*"), 0);
  EXPECT_EQ(code_of("t1/blk0/*"), 0);
}

TEST(Compare, AdviceIsGeneralWhereTheModelsGraphIsNotKnown) {
  CompareOptions options;
  options.subject = recording("scenario1");
  options.reference = (test::golden_dir() / "tiny-silu-i2_s" / "scenario1").string();
  options.ask = AskOracle::kNever;
  EXPECT_THAT(to_text(compared(options)), testing::Not(HasSubstr("how this node is computed")));

  const test::TemporaryFolder folder;
  options.model = (folder.path() / "qwen3.gguf").string();
  gguf::Header header;
  header.add("general.architecture", std::string("qwen3"));
  auto writer = gguf::Writer::create(options.model, std::move(header));
  ASSERT_TRUE(writer) << writer.error().line();
  ASSERT_TRUE(writer->commit());
  EXPECT_THAT(to_text(compared(options)), HasSubstr("how this node is computed"));
}

TEST(Compare, WhatIsNoRecordingIsNamed) {
  CompareOptions options;
  options.subject = recording("scenario1");
  options.reference = "/nonexistent";
  const Interrupt interrupt;
  const auto comparison = compare_recordings(options, interrupt);
  ASSERT_FALSE(comparison);
  EXPECT_EQ(comparison.error().code, ErrorCode::kIo);
  EXPECT_THAT(comparison.error().line(), HasSubstr("/nonexistent: holds neither result.json (a run) nor pack.json"));
}

}  // namespace
}  // namespace tern::app
