// The comparison on recordings of bitnet.cpp: a recording agrees with itself, and with nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/compare/compare_runs.h"

namespace tern::compare {
namespace {

namespace fs = std::filesystem;

trace::EngineRun read(const fs::path& folder) {
  auto run = trace::read_run_folder(folder);
  EXPECT_TRUE(run) << (run ? "" : run.error().line());
  return std::move(run.value());
}

TEST(GoldenCompare, EachRecordingMatchesItselfCompletely) {
  size_t n_tensors = 0;
  const auto cases = test::golden_cases();
  ASSERT_FALSE(cases.empty());
  for (const auto& golden : cases) {
    const auto run = read(golden.folder);
    const RunComparison c = compare_runs(run, read(golden.folder), {Exactness::kExact, {}});
    EXPECT_EQ(c.verdict.kind, VerdictKind::kMatch) << golden.folder << ": " << c.verdict.reason;
    EXPECT_EQ(c.coverage.tensors_compared, run.trace.size());
    EXPECT_EQ(c.n_hash_equal, run.trace.size());
    EXPECT_EQ(c.coverage.tokens_compared, run.result.generated_tokens.size());
    EXPECT_EQ(c.coverage.positions_compared, c.coverage.positions_expected);
    EXPECT_GT(c.coverage.positions_compared, 0u);
    EXPECT_EQ(c.logits->min_cosine, 1.0);
    n_tensors += c.n_hash_equal;
  }
  std::printf("%zu recordings, %zu tensors equal to themselves\n", cases.size(), n_tensors);
}

TEST(GoldenCompare, DifferentPromptsDivergeAtTheTokens) {
  const fs::path root = test::golden_dir() / "tiny-i2_s";
  const RunComparison c = compare_runs(read(root / "scenario1"), read(root / "scenario2"));
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_FALSE(c.tokens.prompt_equal);
  EXPECT_EQ(c.coverage.tensors_compared, 0u);
}

// Two models on one prompt have nothing in common from the embeddings on.
TEST(GoldenCompare, AnotherModelDivergesAtTheEmbeddings) {
  const RunComparison c = compare_runs(read(test::golden_dir() / "tiny-i2_s" / "scenario1"),
                                       read(test::golden_dir() / "tiny-silu-i2_s" / "scenario1"));
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  ASSERT_TRUE(c.first_divergence);
  EXPECT_EQ(c.first_divergence->name(), "embeddings");
}

class AlteredCopy : public testing::Test {
 protected:
  AlteredCopy() : source_(test::golden_dir() / "tiny-i2_s" / "scenario1"), copy_(folder_.path() / "copy") {
    fs::copy(source_, copy_);
    for (const auto& entry : fs::directory_iterator(copy_)) {
      fs::permissions(entry.path(), fs::perms::owner_all);
    }
  }
  void replace_in_trace(const std::string& from, const std::string& to) {
    std::string text = read_file(copy_ / "trace.jsonl", 1 << 24).value();
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, from.size(), to);
    ASSERT_TRUE(write_file(copy_ / "trace.jsonl", text));
  }

  test::TemporaryFolder folder_;
  fs::path source_, copy_;
};

TEST_F(AlteredCopy, OneHashDivergesAtThatName) {
  const auto original = read(source_);
  const auto id = trace::TensorId::parse("blk1/k_rope");
  const std::string hash = original.find(*id)->blake3;
  replace_in_trace(hash, std::string(64, 'a'));
  fs::remove(copy_ / "tensors.safetensors");
  const RunComparison c = compare_runs(read(copy_), original, {Exactness::kExact, {}});
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(c.first_divergence, id);
  EXPECT_EQ(c.n_hash_equal, original.trace.size() - 1);
  EXPECT_THAT(c.verdict.reason, testing::HasSubstr("blk1/k_rope is the only tensor that differs (prefill, layer 1)"));
}

TEST_F(AlteredCopy, OneValueDivergesAtThatNameWithItsSize) {
  const auto original = read(source_);
  const auto id = trace::TensorId::parse("blk0/up_proj");
  const auto* entry = original.values->find("blk0/up_proj");
  std::vector<float> values(entry->values.begin(), entry->values.end());
  values[7] += 0.125F;
  std::string bytes = read_file(copy_ / "tensors.safetensors", 1 << 24).value();
  const size_t begin = bytes.find(std::string(reinterpret_cast<const char*>(entry->values.data()), 256));
  ASSERT_NE(begin, std::string::npos);
  bytes.replace(begin + 7 * sizeof(float), sizeof(float), reinterpret_cast<const char*>(&values[7]), sizeof(float));
  ASSERT_TRUE(write_file(copy_ / "tensors.safetensors", bytes));
  // The trace still has the old hash: evidence against itself.
  EXPECT_EQ(compare_runs(read(copy_), original).verdict.kind, VerdictKind::kMistrusted);
  replace_in_trace(original.find(*id)->blake3, blake3_hex(values));
  const RunComparison c = compare_runs(read(copy_), original, {Exactness::kExact, {}});
  EXPECT_EQ(c.verdict.kind, VerdictKind::kDiverged);
  EXPECT_EQ(c.first_divergence, id);
  EXPECT_THAT(c.verdict.reason, testing::HasSubstr("1 of 3840 values differ, the largest difference is 0.125"));
  EXPECT_EQ(compare_runs(read(copy_), original).verdict.kind, VerdictKind::kWithinTolerance);
}

}  // namespace
}  // namespace tern::compare
