// golden/wide-constant: all weights +1, all activations equal. bitnet.cpp's 16-bit lanes wrap there and its projections
// come out negative; ours must not follow. What precedes the first projection must still be equal.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "support/paths.h"
#include "tern/engine/session.h"
#include "tern/kernels/dispatch.h"
#include "tern/trace/run_folder.h"

namespace tern::engine {
namespace {

using trace::Stage;

TEST(WideConstant, ProjectionsArePositive) {
  const std::set<Stage> projections = {Stage::kQProj,    Stage::kKProj,  Stage::kVProj,   Stage::kOProj,
                                       Stage::kGateProj, Stage::kUpProj, Stage::kDownProj};
  const std::set<Stage> before = {Stage::kEmbeddings, Stage::kAttnNorm};
  size_t n_cases = 0;
  for (const test::GoldenCase& golden : test::golden_cases(/*with_wide_constant=*/true)) {
    if (golden.model != "wide-constant-i2_s") {
      continue;
    }
    ++n_cases;
    const auto recording = trace::read_run_folder(golden.folder);
    ASSERT_TRUE(recording) << recording.error().line();
    const auto view = gguf::View::open(golden.model_path);
    ASSERT_TRUE(view) << view.error().line();
    for (const kernels::KernelTable* table : kernels::runnable_tables()) {
      const auto session = Session::create(*view, {.table = table, .n_threads = 2});
      ASSERT_TRUE(session) << session.error().line();
      trace::MemoryRecorder recorder(/*keep_values=*/true);
      ASSERT_TRUE((*session)->generate({.prompt = recording->result.prompt_tokens,
                                        .max_tokens = recording->result.max_tokens,
                                        .recorder = &recorder}));
      size_t n_projections = 0;
      for (size_t i = 0; i < recorder.records().size(); ++i) {
        const trace::TraceRecord& record = recorder.records()[i];
        const std::vector<float>& values = recorder.values()[i];
        if (projections.contains(record.id.stage)) {
          ++n_projections;
          EXPECT_GT(*std::min_element(values.begin(), values.end()), 0.0f) << record.id.name() << ", " << table->name;
        }
        if (before.contains(record.id.stage) && record.id.seq == 0) {
          const trace::TraceRecord* recorded = recording->find(record.id);
          ASSERT_NE(recorded, nullptr);
          EXPECT_EQ(record.blake3, recorded->blake3) << record.id.name();
        }
      }
      EXPECT_GE(n_projections, projections.size());
    }
  }
  ASSERT_GT(n_cases, 0U) << "no recording of wide-constant-i2_s in " << test::golden_dir();
}

}  // namespace
}  // namespace tern::engine
