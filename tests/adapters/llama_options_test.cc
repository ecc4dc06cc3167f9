#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "options.h"
#include "tern/peer/abilities.h"

namespace tern::adapter {
namespace {

std::vector<std::string> with(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"--model", "m.gguf", "--out", "run"});
  return arguments;
}

TEST(LlamaOptions, TakesTheEngineContractsOptions) {
  const auto options = parse_options(
      with({"--tokenizer", "t.json", "--prompt", "--help", "--max-tokens", "7", "--threads", "2", "--dump-tensors"}));
  ASSERT_TRUE(options) << options.error().line();
  EXPECT_EQ(options->prompt, "--help");  // a prompt is whatever it is
  EXPECT_FALSE(options->help);
  EXPECT_EQ(options->max_tokens, 7);
  EXPECT_EQ(options->threads, 2);
  EXPECT_TRUE(options->dump_tensors);
  EXPECT_TRUE(options->observe);
}

TEST(LlamaOptions, TakesIds) {
  const auto options = parse_options(with({"--token-ids", "0,5,128255", "--max-tokens", "2", "--teacher-tokens", "9"}));
  ASSERT_TRUE(options) << options.error().line();
  EXPECT_EQ(options->token_ids, (std::vector<int32_t>{0, 5, 128255}));
  EXPECT_EQ(options->teacher, (std::vector<int32_t>{9}));
}

TEST(LlamaOptions, TakesSettings) {
  const auto options = parse_options(with({"--prompt", "a", "--setting", "flash_attention=on", "--setting", "x=a=b"}));
  ASSERT_TRUE(options) << options.error().line();
  EXPECT_EQ(options->settings.at("flash_attention"), "on");
  EXPECT_EQ(options->settings.at("x"), "a=b");
  EXPECT_TRUE(parse_options({"--facts", "--setting", "flash_attention=on"})->facts);
  EXPECT_FALSE(parse_options(with({"--prompt", "a", "--setting", "flash_attention"})));
  EXPECT_FALSE(parse_options(with({"--prompt", "a", "--setting"})));
}

// A row of tern's table of abilities that this command line lacks an option for is missed here.
TEST(LlamaOptions, CanBeAskedForEverything) { EXPECT_EQ(abilities().size(), peer::known_abilities().size()); }

TEST(LlamaOptions, TakesAnEmptyPromptForAPrompt) { EXPECT_TRUE(parse_options(with({"--prompt", ""}))); }

TEST(LlamaOptions, RefusesWhatMakesNoSense) {
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"--prompt", "a", "--token-ids", "1"},
      {"--prompt"},
      {"--prompt", "a", "--unknown", "1"},
      {"--prompt", "a", "--max-tokens", "0"},
      {"--prompt", "a", "--max-tokens", "9999999999"},
      {"--prompt", "a", "--threads", "two"},
      {"--token-ids", ""},
      {"--token-ids", "1,"},
      {"--token-ids", "1,,2"},
      {"--token-ids", "-1"},
      {"--token-ids", "1", "--teacher-tokens", "1,2"},
      {"--prompt", "a", "--dump-tensors", "--no-observe"},
  };
  for (const auto& arguments : bad) {
    const auto options = parse_options(with(arguments));
    ASSERT_FALSE(options) << testing::PrintToString(arguments);
    EXPECT_EQ(options.error().code, ErrorCode::kUsage);
    EXPECT_EQ(options.error().line().find('\n'), std::string::npos);
  }
}

TEST(LlamaOptions, NeedsAModelAndAFolder) {
  EXPECT_FALSE(parse_options({"--out", "run", "--prompt", "a"}));
  EXPECT_FALSE(parse_options({"--model", "m.gguf", "--prompt", "a"}));
  EXPECT_TRUE(parse_options({"--help"}));
}

}  // namespace
}  // namespace tern::adapter
