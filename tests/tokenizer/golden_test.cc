// The ids that bitnet.cpp made of the recorded prompts, from both sources of the vocabulary.
#include <gtest/gtest.h>

#include "support/paths.h"
#include "tern/base/json.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::tokenizer {
namespace {

TEST(Golden, PromptIds) {
  const auto cases = tern::test::golden_cases(true);
  ASSERT_FALSE(cases.empty());
  for (const auto& golden : cases) {
    const auto result = read_json_file(golden.folder / "result.json");
    ASSERT_TRUE(result.has_value()) << result.error().line();
    const auto prompt = json_string(*result, "prompt", "result.json");
    const auto expected = json_token_ids(*result, "prompt_tokens", "result.json");
    ASSERT_TRUE(prompt.has_value() && expected.has_value());
    for (const auto& source : {golden.tokenizer_path, golden.model_path}) {
      const auto tokenizer = Tokenizer::open(source);
      ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().line();
      EXPECT_EQ(tokenizer->encode(*prompt, true).value(), *expected) << golden.folder << " by " << source;
    }
  }
  RecordProperty("cases", static_cast<int>(cases.size()));
}

TEST(Golden, BothSourcesAgree) {
  for (const auto& golden : tern::test::golden_cases(true)) {
    const auto json = Tokenizer::open(golden.tokenizer_path);
    const auto gguf = Tokenizer::open(golden.model_path);
    ASSERT_TRUE(json.has_value() && gguf.has_value());
    EXPECT_TRUE(disagreements(*json, *gguf).empty()) << golden.model;
  }
}

}  // namespace
}  // namespace tern::tokenizer
