#include "tern/trace/run_folder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "support/paths.h"
#include "tern/base/hash.h"

namespace tern::trace {
namespace {

namespace fs = std::filesystem;

std::string golden_line(const std::string& name) {
  return R"({"name":")" + std::string(name) + R"(","shape":[1,1],"blake3":")" + std::string(64, 'a') + "\"}\n";
}
constexpr const char* kResult =
    R"({"engine":"e","prompt":"p","max_tokens":2,"prompt_tokens":[1],"generated_tokens":[2,3],"timing":{}})";

TEST(RunFolder, ReadsEveryRecordingWhole) {
  for (const auto& golden : test::golden_cases(true)) {
    const auto run = read_run_folder(golden.folder);
    ASSERT_TRUE(run) << run.error().line();
    EXPECT_EQ(run->result.generated_tokens.size(), static_cast<size_t>(run->result.max_tokens));
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

// Writes tensors.safetensors; [1, n] each.
void write_values(const fs::path& folder, const std::map<std::string, std::vector<float>>& tensors) {
  auto writer = SafetensorsWriter::create(folder / "tensors.safetensors", 1 << 12);
  ASSERT_TRUE(writer);
  for (const auto& [name, values] : tensors) {
    ASSERT_TRUE(writer->add(name, {1, static_cast<int64_t>(values.size())}, values));
  }
  ASSERT_TRUE(writer->finish());
}

TEST(RunFolder, ValuesWithoutRecordsAreEnough) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "result.json", kResult));
  write_values(folder.path(), {{"logits", {3, 4}}, {"blk0/q_proj", {1, 1}}, {"t1/embeddings", {2, 2}}});
  const auto run = read_run_folder(folder.path());
  ASSERT_TRUE(run) << run.error().line();
  ASSERT_EQ(run->trace.size(), 3U);
  EXPECT_EQ(run->trace[0].id.name(), "blk0/q_proj");
  EXPECT_EQ(run->trace[1].id.name(), "logits");
  EXPECT_EQ(run->trace[2].id.name(), "t1/embeddings");
  EXPECT_EQ(run->trace[1].blake3, blake3_hex(std::vector<float>{3, 4}));
  EXPECT_NEAR(run->trace[1].rms.value(), std::sqrt(12.5), 1e-12);
  EXPECT_TRUE(run->notes.empty());
}

// In time that grows with their number: work by its square ends only at the test's deadline.
TEST(RunFolder, VeryManyEmptyTensorsAreRead) {
  constexpr size_t kTensors = 100000;
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "result.json", kResult));
  auto writer =
      SafetensorsWriter::create(folder.path() / "tensors.safetensors", SafetensorsWriter::header_bytes(kTensors));
  ASSERT_TRUE(writer);
  for (size_t i = 0; i < kTensors; ++i) {
    ASSERT_TRUE(writer->add("blk0/x" + std::to_string(i), {0, 4}, {}));
  }
  ASSERT_TRUE(writer->finish());
  const auto run = read_run_folder(folder.path());
  ASSERT_TRUE(run) << run.error().line();
  EXPECT_EQ(run->trace.size(), kTensors);
}

TEST(RunFolder, WhatRecordsLeaveOutIsDerivedFromTheValues) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "result.json", kResult));
  const std::string bare = R"({"name":"blk0/q_proj","shape":[1,2]})"
                           "\n";
  const auto lines = bare + golden_line("blk0/k_proj") +
                     R"({"name":"blk0/odd","shape":[1,2]})"
                     "\n";
  ASSERT_TRUE(write_file(folder.path() / "trace.jsonl", lines));
  auto run = read_run_folder(folder.path());
  ASSERT_FALSE(run);
  EXPECT_NE(run.error().line().find("the record of blk0/q_proj has no key \"blake3\", and there are no values of it"),
            std::string::npos)
      << run.error().line();
  write_values(folder.path(), {{"blk0/q_proj", {3, 4}}, {"blk0/odd", {5, 6}}, {"blk0/v_proj", {7, 8}}});
  run = read_run_folder(folder.path());
  ASSERT_TRUE(run) << run.error().line();
  std::vector<std::string> names;
  for (const TraceRecord& record : run->trace) {
    names.push_back(record.id.name());
  }
  EXPECT_EQ(names, (std::vector<std::string>{"blk0/q_proj", "blk0/k_proj", "blk0/v_proj", "blk0/odd"}));
  EXPECT_EQ(run->trace[0].blake3, blake3_hex(std::vector<float>{3, 4}));
  EXPECT_FALSE(run->trace[1].rms) << "there is nothing to derive it from";
}

TEST(RunFolder, NanAsPythonWritesItIsReadAndNoted) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "result.json", kResult));
  const std::string hash(64, 'a');
  size_t n = 0;
  for (const char* rms : {"NaN", "Infinity", "-Infinity", "null"}) {
    const std::string name = "blk0/s" + std::to_string(n++);
    ASSERT_TRUE(write_file(
        folder.path() / ("x" + std::to_string(n) + ".trace"),
        R"({"name":")" + name + R"(","dtype":"a, NaN","shape":[1,1],"blake3":")" + hash + R"(","rms": )" + rms + "}"));
  }
  auto run = read_run_folder(folder.path());
  ASSERT_TRUE(run) << run.error().line();
  for (const TraceRecord& record : run->trace) {
    EXPECT_TRUE(record.is_not_finite());
    EXPECT_FALSE(record.finite_rms());
    EXPECT_EQ(record.dtype, "a, NaN") << "within a text it stays what it is";
  }
  ASSERT_EQ(run->notes.size(), 1U);
  EXPECT_EQ(run->notes[0],
            "4 of its trace records state an RMS that is NaN or infinite: blk0/s0, blk0/s1, blk0/s2, ...");
  ASSERT_TRUE(write_file(folder.path() / "x1.trace", R"({"name":"a","shape":[1,1],"rms":NaNa})"));
  EXPECT_FALSE(read_run_folder(folder.path())) << "nor is anything else a number";
}

TEST(RunFolder, FieldsThatContradictEachOtherAreNoted) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "result.json", kResult));
  auto json = to_json(make_record(*TensorId::parse("blk1/q_proj"), {1, 2}, std::vector<float>{3, 4}));
  const auto notes = [&] {
    EXPECT_TRUE(write_file(folder.path() / "trace.jsonl", to_json_line(json) + "\n"));
    const auto run = read_run_folder(folder.path());
    EXPECT_TRUE(run) << run.error().line();
    return run ? run->notes : std::vector<std::string>();
  };
  write_values(folder.path(), {{"blk1/q_proj", {3, 4}}});
  EXPECT_TRUE(notes().empty());
  json["stage"] = "k_proj";
  json["layer"] = 2;
  EXPECT_EQ(notes(),
            (std::vector<std::string>{"1 of its trace records contradict themselves: blk1/q_proj (its stage is "
                                      "\"k_proj\", by its name \"q_proj\", its layer is 2, by its name 1)"}));
  json["stage"] = "q_proj";
  json["layer"] = 1;
  json["rms"] = 3.0;
  EXPECT_EQ(notes(), (std::vector<std::string>{"1 of its trace records state an RMS that is not that of the recorded "
                                               "values: blk1/q_proj (3, its values' 3.53553)"}));
}

TEST(RunFolder, APromptGivenByIdsIsNull) {
  RunResult result;
  result.engine = "e";
  result.prompt_is_text = false;
  result.prompt_tokens = {1, 2};
  EXPECT_TRUE(to_json(result)["prompt"].is_null());
  const auto back = run_result_from_json(to_json(result), "test");
  ASSERT_TRUE(back) << back.error().line();
  EXPECT_FALSE(back->prompt_is_text);
  EXPECT_EQ(back->prompt, "");
}

std::vector<std::string> names_of(const Records& records) {
  std::vector<std::string> names;
  for (const TraceRecord& record : records) {
    names.push_back(record.id.name());
  }
  return names;
}

std::string line_of(const std::string& name, std::optional<int> index = std::nullopt) {
  auto json = *parse_json(golden_line(name), "line");
  if (index) {
    json["index"] = *index;
  }
  return to_json_line(json) + "\n";
}

TEST(RunFolder, StagesOfAnyNameAreRead) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "trace.jsonl", line_of("embeddings") + line_of("blk0/swiglu")));
  const auto trace = read_trace_folder(folder.path());
  ASSERT_TRUE(trace) << trace.error().line();
  EXPECT_EQ(names_of(*trace), (std::vector<std::string>{"embeddings", "blk0/swiglu"}));
  EXPECT_FALSE((*trace)[1].id.stage.is_known());
}

TEST(RunFolder, TheIndexOrdersTheRecordsOfAPass) {
  const test::TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder.path() / "trace.jsonl", line_of("t1/late", 0) + line_of("blk0/v_proj", 2) +
                                                            line_of("blk0/k_proj", 7) + line_of("first", 1)));
  const auto trace = read_trace_folder(folder.path());
  ASSERT_TRUE(trace) << trace.error().line();
  EXPECT_EQ(names_of(*trace), (std::vector<std::string>{"first", "blk0/v_proj", "blk0/k_proj", "t1/late"}));
}

TEST(RunFolder, WithoutIndexTheLinesAreInOrder) {
  const test::TemporaryFolder folder;
  const std::string lines = line_of("blk0/v_proj", 5) + line_of("t1/embeddings") + line_of("blk0/k_proj", 4);
  ASSERT_TRUE(write_file(folder.path() / "trace.jsonl", lines));
  const auto trace = read_trace_folder(folder.path());
  ASSERT_TRUE(trace) << trace.error().line();
  EXPECT_EQ(names_of(*trace), (std::vector<std::string>{"blk0/v_proj", "blk0/k_proj", "t1/embeddings"}));
  EXPECT_EQ((*trace)[1].index, 1U);
}

TEST(RunFolder, FilesWithoutIndexAreInTheOrderOfTheTable) {
  const test::TemporaryFolder folder;
  for (const char* name : {"blk0/v_proj", "logits", "blk1/attn_norm", "blk0/k_proj", "blk0/swiglu", "embeddings"}) {
    std::string file = name;
    std::replace(file.begin(), file.end(), '/', '_');
    ASSERT_TRUE(write_file(folder.path() / (file + ".trace"), line_of(name)));
  }
  const auto trace = read_trace_folder(folder.path());
  ASSERT_TRUE(trace) << trace.error().line();
  EXPECT_EQ(names_of(*trace), (std::vector<std::string>{"embeddings", "blk0/k_proj", "blk0/v_proj", "blk0/swiglu",
                                                        "blk1/attn_norm", "logits"}));
  for (const TraceRecord& record : *trace) {
    EXPECT_EQ(trace->find(record.id), &record);
  }
  EXPECT_EQ(trace->find({0, 0, 3, Stage::kOut}), nullptr);
}

}  // namespace
}  // namespace tern::trace
