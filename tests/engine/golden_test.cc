// Every recording of bitnet.cpp, bit for bit: tokens, the hash of every traced tensor, every logit; for each kernel
// table that this machine can run and for several numbers of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#include "support/paths.h"
#include "tern/engine/session.h"
#include "tern/kernels/dispatch.h"
#include "tern/trace/run_folder.h"

namespace tern::engine {
namespace {

struct Replay {
  Generation generation;
  std::vector<float> logits;
  std::vector<trace::TraceRecord> records;
  std::vector<std::vector<float>> values;
};

Replay replay(const test::GoldenCase& golden, const trace::RunResult& wanted, SessionOptions options) {
  Replay run;
  auto view = gguf::View::open(golden.model_path);
  EXPECT_TRUE(view) << view.error().line();
  auto session = Session::create(*view, options);
  EXPECT_TRUE(session) << session.error().line();
  trace::MemoryRecorder recorder(/*keep_values=*/true);
  auto generation = (*session)->generate({.prompt = wanted.prompt_tokens,
                                          .max_tokens = wanted.max_tokens,
                                          .recorder = &recorder,
                                          .on_logits = [&run](std::span<const float> rows) -> Status {
                                            run.logits.insert(run.logits.end(), rows.begin(), rows.end());
                                            return {};
                                          }});
  EXPECT_TRUE(generation) << generation.error().line();
  run.generation = std::move(*generation);
  run.records = recorder.records();
  run.values = recorder.values();
  return run;
}

// The recordings' scores of a decode step after a prompt of more than one ubatch lack the newest keys: the tool that
// took them counted only the first ubatch's. The rest of each row must still be equal.
trace::TraceRecord crop_like(const trace::TraceRecord& wanted, const trace::TraceRecord& record,
                             const std::vector<float>& values) {
  constexpr int64_t kRecordedUbatch = 512;
  const bool scores = wanted.id.stage == trace::Stage::kAttnScoresSoftmax && wanted.id.seq > 0;
  if (!scores || wanted.shape[2] != kRecordedUbatch + wanted.id.seq || record.shape[2] <= wanted.shape[2]) {
    return record;
  }
  std::vector<float> cropped;
  for (auto row = values.begin(); row != values.end(); row += record.shape[2]) {
    cropped.insert(cropped.end(), row, row + wanted.shape[2]);
  }
  return trace::make_record(record.id, wanted.shape, cropped);
}

// Under emulation, where the numbers of threads are those of the machine that emulates, one is enough.
#ifdef TERN_EMULATED
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

struct Configuration {
  const kernels::KernelTable* table;
  int n_threads;
};

std::vector<Configuration> configurations(bool slow_case) {
  std::vector<Configuration> all;
  for (const kernels::KernelTable* table : kernels::runnable_tables()) {
    // The long recording in scalar code takes seconds: once is enough.
    const bool scalar_and_slow = slow_case && std::string_view(table->name) == "scalar";
    for (const int n_threads : kEmulated || scalar_and_slow ? std::vector{2} : std::vector{1, 2, 4}) {
      all.push_back({table, n_threads});
    }
  }
  return all;
}

class Golden : public testing::TestWithParam<test::GoldenCase> {};

TEST_P(Golden, IsReproducedBitForBit) {
  auto recording = trace::read_run_folder(GetParam().folder);
  ASSERT_TRUE(recording) << recording.error().line();
  ASSERT_FALSE(recording->trace.empty());
  for (const auto& [table, n_threads] : configurations(GetParam().name == "ubatch513")) {
    SCOPED_TRACE(std::string(table->name) + ", threads " + std::to_string(n_threads));
    const Replay run = replay(GetParam(), recording->result, {.table = table, .n_threads = n_threads});
    EXPECT_EQ(run.generation.tokens, recording->result.generated_tokens);
    ASSERT_EQ(run.records.size(), recording->trace.size());
    for (size_t i = 0; i < run.records.size(); ++i) {
      const trace::TraceRecord& wanted = recording->trace[i];
      ASSERT_EQ(run.records[i].id.name(), wanted.id.name());
      const trace::TraceRecord record = crop_like(wanted, run.records[i], run.values[i]);
      ASSERT_EQ(record.shape, wanted.shape) << wanted.id.name();
      ASSERT_EQ(record.blake3, wanted.blake3) << wanted.id.name() << " differs first";
    }
    const std::span<const float> wanted_logits = recording->logits()->values;
    ASSERT_EQ(run.logits.size(), wanted_logits.size());
    EXPECT_EQ(std::memcmp(run.logits.data(), wanted_logits.data(), wanted_logits.size_bytes()), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Recordings, Golden, testing::ValuesIn(test::golden_cases()), [](const auto& param) {
  std::string name = param.param.model + "_" + param.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
});

}  // namespace
}  // namespace tern::engine
