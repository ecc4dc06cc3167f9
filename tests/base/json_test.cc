#include "tern/base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tern {
namespace {

TEST(Json, ErrorsNameThePlace) {
  const auto json = parse_json("{\"a\": tru}", "x.json");
  ASSERT_FALSE(json);
  EXPECT_EQ(json.error().line(), "x.json @ byte 10: is not valid JSON");
}

TEST(Json, DeepNestingIsRefused) {
  EXPECT_TRUE(parse_json(std::string(60, '[') + std::string(60, ']'), "x"));
  EXPECT_FALSE(parse_json(std::string(100000, '['), "x"));
  EXPECT_FALSE(parse_json(std::string(70, '[') + std::string(70, ']'), "x"));
}

TEST(Json, VeryManyKeysAreRefused) {
  std::string text = "{";
  for (int i = 0; i < 100000; ++i) {
    text += "\"" + std::to_string(i) + "\":0,";
  }
  text.back() = '}';
  EXPECT_FALSE(parse_json(text, "x"));
}

TEST(Json, IntegersAreCheckedBeforeTheyAreNarrowed) {
  const Json json = {
      {"small", 3}, {"negative", -1}, {"fraction", 1.5}, {"text", "3"}, {"huge", std::numeric_limits<uint64_t>::max()}};
  EXPECT_EQ(json_integer(json, "small", "x", 0, 3).value(), 3);
  for (const char* key : {"negative", "fraction", "text", "huge", "missing"}) {
    const auto value = json_integer(json, key, "x", 0, INT64_MAX);
    ASSERT_FALSE(value) << key;
    EXPECT_NE(value.error().what.find(key), std::string::npos);
  }
  EXPECT_FALSE(json_integer(json, "small", "x", 0, 2));
}

TEST(Json, TokenIds) {
  EXPECT_EQ(json_token_ids(Json{{"ids", {1, 2}}}, "ids", "x").value(), (std::vector<int32_t>{1, 2}));
  for (const Json& bad : {Json{{"ids", 1}}, Json{{"ids", {1.5}}}, Json{{"ids", {-1}}}, Json{{"ids", {2147483648U}}}}) {
    EXPECT_FALSE(json_token_ids(bad, "ids", "x")) << bad;
  }
}

TEST(Json, WhatIsNotFiniteIsNull) {
  EXPECT_TRUE(json_number(std::nan("")).is_null());
  EXPECT_TRUE(json_number(std::numeric_limits<double>::infinity()).is_null());
  EXPECT_EQ(json_number(0.5), Json(0.5));
}

TEST(Json, InvalidUtf8IsReplacedNotThrown) { EXPECT_EQ(to_json_line(Json("a\xff")), "\"a\xef\xbf\xbd\""); }

}  // namespace
}  // namespace tern
