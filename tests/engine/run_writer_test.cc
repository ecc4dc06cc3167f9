#include "tern/trace/run_writer.h"

#include <gtest/gtest.h>

#include <fstream>

#include "engine/small_model.h"
#include "support/paths.h"
#include "tern/engine/session.h"
#include "tern/kernels/dispatch.h"

namespace tern::engine {
namespace {
namespace fs = std::filesystem;

size_t n_entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::recursive_directory_iterator(folder), {}));
}

class RunWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto path = folder_.path() / "model.gguf";
    ASSERT_TRUE(test::SmallModel("llama").write(path));
    view_.emplace(std::move(*gguf::View::open(path)));
  }

  // Runs the model on a short prompt into `writer`.
  Result<trace::RunResult> run(trace::RunWriter& writer) {
    TERN_ASSIGN_OR_RETURN(const auto session, Session::create(*view_, {.table = kernels::runnable_tables().back()}));
    trace::RunResult result;
    result.engine = "test";
    result.max_tokens = 3;
    result.prompt_tokens = {1, 2, 3, 4};
    GenerationRequest request{.prompt = result.prompt_tokens, .max_tokens = 3, .recorder = writer.recorder()};
    if (writer.wants_logits()) {
      request.on_logits = [&](std::span<const float> rows) { return writer.append_logits(rows); };
    }
    TERN_ASSIGN_OR_RETURN(const Generation generation, session->generate(request));
    result.generated_tokens = generation.tokens;
    return result;
  }

  test::TemporaryFolder folder_;
  std::optional<gguf::View> view_;
};

TEST_F(RunWriterTest, WritesTheEngineContract) {
  const fs::path out = folder_.path() / "a" / "b";
  auto writer = trace::RunWriter::begin({.run_folder = out, .dump_tensors = true, .n_vocab = 40, .max_tensors = 200});
  ASSERT_TRUE(writer) << writer.error().line();
  const auto result = run(*writer);
  ASSERT_TRUE(result) << result.error().line();
  ASSERT_TRUE(writer->finish(*result));
  const auto read = trace::read_run_folder(out);
  ASSERT_TRUE(read) << read.error().line();
  EXPECT_EQ(read->result.generated_tokens, result->generated_tokens);
  EXPECT_EQ(read->logits()->shape, (std::vector<int64_t>{6, 40}));
  EXPECT_EQ(read->trace.size(), size_t{3 * (16 + 3)});
  ASSERT_TRUE(read->values);
  EXPECT_EQ(read->values->entries().size(), read->trace.size());
}

TEST_F(RunWriterTest, TracesMayGoElsewhere) {
  const fs::path out = folder_.path() / "out", traces = folder_.path() / "traces";
  auto writer = trace::RunWriter::begin({.run_folder = out, .trace_folder = traces, .n_vocab = 40});
  ASSERT_TRUE(writer) << writer.error().line();
  const auto result = run(*writer);
  ASSERT_TRUE(result) << result.error().line();
  ASSERT_TRUE(writer->finish(*result));
  EXPECT_EQ(n_entries(out), 2U);
  EXPECT_EQ(n_entries(traces), size_t{3 * (16 + 3)});
}

TEST_F(RunWriterTest, WithoutATraceThereIsNoRecorderAtAll) {
  const fs::path out = folder_.path() / "out", traces = folder_.path() / "traces";
  auto writer = trace::RunWriter::begin({.run_folder = out, .trace_folder = traces, .trace = false, .n_vocab = 40});
  ASSERT_TRUE(writer) << writer.error().line();
  EXPECT_EQ(writer->recorder(), nullptr);
  const auto result = run(*writer);
  ASSERT_TRUE(result) << result.error().line();
  ASSERT_TRUE(writer->finish(*result));
  const auto read = trace::read_run_folder(out);
  ASSERT_TRUE(read) << read.error().line();
  EXPECT_TRUE(read->trace.empty());
  EXPECT_NE(read->logits(), nullptr);
  EXPECT_FALSE(fs::exists(traces));
}

TEST_F(RunWriterTest, LeavesNothingBehindUnlessFinished) {
  const size_t before = n_entries(folder_.path());
  {
    auto writer = trace::RunWriter::begin(
        {.run_folder = folder_.path() / "x" / "y", .dump_tensors = true, .n_vocab = 40, .max_tensors = 200});
    ASSERT_TRUE(writer) << writer.error().line();
    ASSERT_TRUE(run(*writer));
    EXPECT_GT(n_entries(folder_.path()), before + 50);
  }
  EXPECT_EQ(n_entries(folder_.path()), before);
}

TEST_F(RunWriterTest, KeepsAnExistingFolderAndWhatIsInIt) {
  const fs::path out = folder_.path() / "out";
  fs::create_directory(out);
  std::ofstream(out / "notes.txt") << "mine";
  { ASSERT_TRUE(trace::RunWriter::begin({.run_folder = out, .n_vocab = 40})); }
  EXPECT_EQ(n_entries(out), 1U);
}

TEST_F(RunWriterTest, RefusesAFolderWithTraces) {
  const fs::path out = folder_.path() / "out";
  fs::create_directory(out);
  std::ofstream(out / "blk0_q_proj.trace") << "{}";
  const auto writer = trace::RunWriter::begin({.run_folder = out, .n_vocab = 40});
  ASSERT_FALSE(writer);
  EXPECT_EQ(n_entries(out), 1U);
}

TEST_F(RunWriterTest, UnwritableFolder) {
  std::ofstream(folder_.path() / "file") << "x";
  const auto writer = trace::RunWriter::begin({.run_folder = folder_.path() / "file" / "out", .n_vocab = 40});
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace tern::engine
