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

}  // namespace
}  // namespace tern::app
