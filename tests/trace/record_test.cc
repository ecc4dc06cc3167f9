#include "tern/trace/record.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tern::trace {
namespace {

TEST(Record, HashAndRmsOfKnownValues) {
  const std::vector<float> values = {3.0F, -4.0F, 0.0F, 0.0F, 5.0F};
  const TraceRecord record = make_record({0, 0, -1, Stage::kEmbeddings}, {1, 5}, values);
  // printf '\x00\x00\x40\x40\x00\x00\x80\xc0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xa0\x40' | b3sum
  EXPECT_EQ(record.blake3, "aa89543e99e1ef0cfafb3780ef95443263ce330c610349d9c50c2f202f40ad49");
  EXPECT_DOUBLE_EQ(record.rms.value(), std::sqrt(10.0));
  EXPECT_EQ(record.num_elements, 5U);
}

TEST(Record, NotFiniteValuesAreCountedAndLeaveNoRms) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const TraceRecord record = make_record({0, 0, 0, Stage::kQProj}, {2, 2}, std::vector<float>{nan, 1, infinity, 2});
  EXPECT_EQ(record.non_finite, 2U);
  EXPECT_FALSE(record.finite_rms());
  EXPECT_TRUE(to_json(record)["rms"].is_null());
  const auto back = record_from_json(to_json(record), "test");
  ASSERT_TRUE(back);
  EXPECT_EQ(back->non_finite, 2U);
  EXPECT_FALSE(back->finite_rms());
}

TEST(Record, LargeFiniteValuesKeepTheirRms) {
  const std::vector<float> values(9, 1e38F);
  const TraceRecord record = make_record({0, 0, 0, Stage::kQProj}, {9, 1}, values);
  EXPECT_NEAR(record.rms.value() / 1e38, 1.0, 1e-6);
  EXPECT_EQ(record.non_finite, 0U);
}

TEST(Record, JsonHoldsTheContractsKeys) {
  const Json json = to_json(make_record({1, 0, 2, Stage::kVProj}, {1, 2}, std::vector<float>{1, 1}));
  EXPECT_EQ(json["name"], "t1/blk2/v_proj");
  EXPECT_EQ(json["seq"], 1);
  EXPECT_EQ(json["layer"], 2);
  EXPECT_EQ(json["stage"], "v_proj");
  EXPECT_EQ(json["shape"], (Json::array({1, 2})));
  EXPECT_EQ(json["dtype"], "F32");
  EXPECT_EQ(json["num_elements"], 2);
  EXPECT_EQ(trace_file_name({1, 0, 2, Stage::kVProj}), "t1_blk2_v_proj.trace");
}

TEST(Record, DamagedRecordsAreErrorsThatNameTheField) {
  const Json good = to_json(make_record({0, 0, 0, Stage::kQProj}, {1, 2}, std::vector<float>{1, 2}));
  const auto damaged = [&](const char* key, Json value) {
    Json json = good;
    json[key] = std::move(value);
    return json;
  };
  for (const auto& [key, json] : std::vector<std::pair<std::string, Json>>{
           {"name", damaged("name", 7)},
           {"blake3", damaged("blake3", "abc")},
           {"blake3", damaged("blake3", std::string(64, 'G'))},
           {"shape", damaged("shape", "2")},
           {"shape", damaged("shape", Json::array({-1, 2}))},
           {"shape", damaged("shape", Json::array({2147483647, 2147483647, 2147483647}))},
           {"num_elements", damaged("num_elements", 3)},
           {"index", damaged("index", -1)},
           {"index", damaged("index", "3")},
           {"name", damaged("name", "blk0/../../etc/passwd")},
           {"name", damaged("name", "blk0/a\nb")},
           {"name", damaged("name", "")},
       }) {
    const auto record = record_from_json(json, "x.trace");
    ASSERT_FALSE(record.has_value()) << key;
    EXPECT_NE(record.error().line().find(key), std::string::npos) << record.error().line();
    EXPECT_NE(record.error().line().find("x.trace"), std::string::npos);
  }
}

TEST(Record, AStageMayHaveAnyName) {
  Json json = to_json(make_record({0, 0, 0, Stage::kQProj}, {1, 1}, std::vector<float>{1}));
  json["name"] = "t0/blk0/something else.rope#2";
  json["index"] = 12;
  const auto record = record_from_json(json, "x.trace");
  ASSERT_TRUE(record.has_value()) << record.error().line();
  EXPECT_EQ(record->id.name(), "blk0/something else.rope#2");
  EXPECT_EQ(record->index, 12U);
  EXPECT_EQ(to_json(*record)["index"], 12);
}

}  // namespace
}  // namespace tern::trace
