#include "tern/app/settings_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tern::app {
namespace {

TEST(VariedSetting, HasAGoodAndABadValue) {
  const auto setting = parse_varied_setting("cache_type_k=f16,q8_0");
  ASSERT_TRUE(setting) << setting.error().line();
  EXPECT_EQ(setting->name, "cache_type_k");
  EXPECT_EQ(setting->good, "f16");
  EXPECT_EQ(setting->bad, "q8_0");
  EXPECT_EQ(parse_varied_setting("X=,1")->good, "");  // an absent variable
  EXPECT_TRUE(parse_varied_setting("ubatch=1,2"));
}

TEST(VariedSetting, OtherFormsAreUsageErrors) {
  for (const char* text : {"", "a", "a=1", "a=1,2,3", "a=1,1", "=1,2", "9a=1,2", "a-b=1,2", "BITNET_SEED=1,2",
                           "RAYON_NUM_THREADS=1,2", "prompt=a,b", "out=a,b"}) {
    const auto setting = parse_varied_setting(text);
    ASSERT_FALSE(setting) << text;
    EXPECT_EQ(setting.error().code, ErrorCode::kUsage) << text;
  }
}

TEST(FindSettings, AModelIsNamedByAnOptionOrByASetting) {
  SettingsOptions options;
  options.settings = {"threads=1,2"};
  const Interrupt interrupt;
  const auto found = find_settings(options, interrupt);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kUsage);
  EXPECT_EQ(found.error().where, "--model");
  options.settings = {"model=/nonexistent/a.gguf,/nonexistent/b.gguf"};
  EXPECT_THAT(find_settings(options, interrupt).error().line(), testing::HasSubstr("/nonexistent/a.gguf"));
}

TEST(FindSettings, WhatWasFoundIsListedWithBothValues) {
  FoundSettings found;
  found.n_settings = 3;
  found.changes = {{"threads", "1", "2"}};
  EXPECT_THAT(settings_text(found),
              testing::StartsWith("1 of 3 settings is enough to make it bad:\n  threads: '1' -> '2'\n"));
  const Json json = to_json(found);
  ASSERT_EQ(json["changes"].size(), 1U);
  EXPECT_EQ(json["changes"][0]["bad"], "2");
}

}  // namespace
}  // namespace tern::app
