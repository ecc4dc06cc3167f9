#include "tern/trace/run_folder.h"

#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/hash.h"

namespace tern::trace {
namespace {

namespace fs = std::filesystem;

std::string golden_line(const char* name) {
  return R"({"name":")" + std::string(name) + R"(","shape":[1,1],"blake3":")" + std::string(64, 'a') + "\"}\n";
}
constexpr const char* kResult =
    R"({"engine":"e","prompt":"p","max_tokens":2,"prompt_tokens":[1],"generated_tokens":[2,3],"timing":{}})";

TEST(RunFolder, ReadsEveryRecordingWhole) {
  for (const auto& golden : test::golden_cases(true)) {
    const auto run = read_run_folder(golden.folder);
    ASSERT_TRUE(run) << run.error().line();
    EXPECT_EQ(run->result.generated_tokens.size(), static_cast<size_t>(run->result.max_tokens));
    EXPECT_EQ(run->n_unknown_stages, 0U);
    ASSERT_NE(run->logits(), nullptr);
    ASSERT_FALSE(run->trace.empty());
    EXPECT_EQ(run->trace.front().id.name(), "embeddings");
    EXPECT_EQ(run->trace.back().id.stage, Stage::kLogits);
    EXPECT_NE(run->find(run->trace.back().id), nullptr);
  }
}

// The recorded values must hash to the recorded hashes: our reader, our hash and the recorder's agree.
TEST(RunFolder, RecordedValuesHaveTheRecordedHashes) {
  size_t n_checked = 0;
  for (const auto& golden : test::golden_cases()) {
    const auto run = read_run_folder(golden.folder);
    ASSERT_TRUE(run) << run.error().line();
    if (!run->values) {
      continue;
    }
    for (const TraceRecord& record : run->trace) {
      const auto* entry = run->values->find(record.id.name());
      ASSERT_NE(entry, nullptr) << record.id.name();
      EXPECT_EQ(blake3_hex(entry->values), record.blake3) << record.id.name();
      EXPECT_NEAR(make_record(record.id, record.shape, entry->values).rms.value(), record.rms.value(),
                  1e-12 * record.rms.value());
      ++n_checked;
    }
  }
  EXPECT_GT(n_checked, 100U);
}

TEST(RunFolder, ResultSurvivesTheRoundTrip) {
  RunResult result;
  result.engine = "e";
  result.arithmetic = "a";
  result.prompt = "line\nbreak \"quoted\" \xc3\xa9";
  result.max_tokens = 3;
  result.prompt_tokens = {1, 2};
  result.generated_tokens = {3};
  result.teacher_tokens = {4, 5};
  result.text = "x";
  result.model_sha256 = "s";
  result.decode_s = 0.5;
  const auto back = run_result_from_json(to_json(result), "test");
  ASSERT_TRUE(back);
  EXPECT_EQ(to_json(*back), to_json(result));
}

TEST(RunFolder, DamageIsNamedWithFileAndPlace) {
  struct Case {
    const char* file;
    std::string content;
    const char* expected;
  };
  const std::vector<Case> cases = {
      {"result.json", "{", "result.json @ byte"},
      {"result.json", R"({"engine":"e"})", "prompt"},
      {"result.json",
       R"({"engine":"e","prompt":"p","max_tokens":1,"prompt_tokens":[1],"generated_tokens":[],"teacher_tokens":3})",
       "teacher_tokens"},
      {"result.json",
       R"({"engine":"e","prompt":"p","max_tokens":1,"prompt_tokens":[1],"generated_tokens":[],"teacher_tokens":[3,4]})",
       "holds 2 teacher tokens, but max_tokens is 1"},
      {"result.json", R"({"engine":"e","prompt":"p","max_tokens":1,"prompt_tokens":[-1],"generated_tokens":[]})",
       "prompt_tokens"},
      {"result.json", R"({"engine":"e","prompt":"p","max_tokens":1,"prompt_tokens":[1],"generated_tokens":[1,2]})",
       "max_tokens is 1"},
      {"trace.jsonl", "{}\n", "trace.jsonl line 1"},
      {"trace.jsonl", golden_line("embeddings") + golden_line("embeddings"), "two trace records named embeddings"},
      {"x.trace", "not json", "x.trace"},
      {"logits.safetensors", "short", "logits.safetensors"},
  };
  for (const Case& damage : cases) {
    const test::TemporaryFolder folder;
    ASSERT_TRUE(write_file(folder.path() / "result.json", kResult));
    ASSERT_TRUE(write_file(folder.path() / damage.file, damage.content));
    const auto run = read_run_folder(folder.path());
    ASSERT_FALSE(run) << damage.content;
    EXPECT_NE(run.error().line().find(damage.expected), std::string::npos) << run.error().line();
  }
}

TEST(RunFolder, LogitsMustHaveARowForEachPosition) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "result.json", kResult));  // 1 prompt token, 1 decode step: 2 rows
  for (const int64_t n_rows : {1, 2, 3}) {
    auto writer = SafetensorsWriter::create(folder.path() / "logits.safetensors", SafetensorsWriter::header_bytes(1));
    ASSERT_TRUE(writer);
    const std::vector<float> values(static_cast<size_t>(n_rows) * 4, 1.0F);
    ASSERT_TRUE(writer->add("logits", {n_rows, 4}, values) && writer->finish());
    EXPECT_EQ(read_run_folder(folder.path()).has_value(), n_rows == 2);
  }
}

TEST(RunFolder, ForeignStagesAreCounted) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "trace.jsonl", golden_line("embeddings") + "\n" + golden_line("blk0/swiglu")));
  const auto trace = read_trace_folder(folder.path());
  ASSERT_TRUE(trace) << trace.error().line();
  EXPECT_EQ(trace->records.size(), 1U);
  EXPECT_EQ(trace->n_unknown_stages, 1U);
}

}  // namespace
}  // namespace tern::trace
