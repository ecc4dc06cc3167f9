#include "tern/sweep/watch.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/paths.h"
#include "tern/base/file.h"

namespace tern::sweep {
namespace {

class WatchTest : public testing::Test {
 protected:
  static trace::Records known_records() {
    std::vector<trace::TraceRecord> records;
    for (const char* name : {"embeddings", "blk0/attn_norm", "blk0/q_proj", "blk0/q_rope", "blk0/k_proj",
                             "blk1/attn_norm", "blk1/q_proj", "logits", "t1/embeddings", "t1/blk0/attn_norm"}) {
      records.push_back(trace::make_record(*trace::TensorId::parse(name), {1, 2}, std::vector<float>{1, 2}));
    }
    return trace::Records::create(std::move(records), trace::Records::Given::kAnyOrder, "known").value();
  }

  void write(const std::string& name, float value = 1) {
    const auto record = trace::make_record(*trace::TensorId::parse(name), {1, 2}, std::vector<float>{value, 2});
    EXPECT_TRUE(write_file(folder_.path() / trace::trace_file_name(record.id), to_json_line(trace::to_json(record))));
  }
  std::string first() {
    watch_.look();
    return watch_.first_difference() ? watch_.first_difference()->name() : "";
  }

  test::TemporaryFolder folder_;
  trace::Records known_ = known_records();
  Watch watch_{known_, folder_.path(), [](const auto& a, const auto& b) { return a.blake3 != b.blake3; }};
};

TEST_F(WatchTest, SeesADifferenceAsSoonAsItIsThere) {
  EXPECT_EQ(first(), "");
  write("embeddings");
  write("blk0/attn_norm");
  EXPECT_EQ(first(), "");
  EXPECT_EQ(watch_.seen().size(), 2U);
  write("blk0/q_proj", 3);
  EXPECT_EQ(first(), "blk0/q_proj");
  ASSERT_EQ(watch_.seen().size(), 3U);
  EXPECT_EQ(watch_.seen().back().id.name(), "blk0/q_proj");
  write("blk0/q_rope", 3);
  EXPECT_EQ(first(), "blk0/q_proj");
  EXPECT_EQ(watch_.seen().size(), 3U);
}

// Engines compute the stages of a layer in an order of their own: what differs first in ours is still to come.
TEST_F(WatchTest, WaitsForAStageThatMayStillCome) {
  write("embeddings");
  write("blk0/attn_norm");
  write("blk0/k_proj", 3);
  EXPECT_EQ(first(), "");
  write("blk0/q_proj", 3);
  EXPECT_EQ(first(), "blk0/q_proj");
}

TEST_F(WatchTest, PassesOverAStageThatTheEngineDoesNotTrace) {
  write("embeddings");
  write("blk0/attn_norm");
  write("blk0/k_proj");
  EXPECT_EQ(first(), "");
  EXPECT_EQ(watch_.seen().size(), 2U);
  write("blk1/attn_norm");
  write("blk1/q_proj", 3);
  EXPECT_EQ(first(), "blk1/q_proj");
  EXPECT_EQ(watch_.seen().size(), 5U);
}

TEST_F(WatchTest, LooksAgainAtAFileThatIsNotWholeYet) {
  const auto path = folder_.path() / "embeddings.trace";
  ASSERT_TRUE(write_file(path, "{\"name\":\"embed"));
  EXPECT_EQ(first(), "");
  EXPECT_TRUE(watch_.seen().empty());
  write("embeddings", 3);
  EXPECT_EQ(first(), "embeddings");
}

TEST_F(WatchTest, FollowsEveryPassToTheEnd) {
  for (const auto& record : known_) write(record.id.name());
  EXPECT_EQ(first(), "");
  EXPECT_EQ(watch_.seen().size(), known_.size());
}

}  // namespace
}  // namespace tern::sweep
