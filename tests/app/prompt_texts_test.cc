#include "tern/app/prompt_texts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tern::app {
namespace {

using testing::HasSubstr;

TEST(PromptTexts, SpecialTokensAtEitherEndAreTakenOff) {
  struct Case {
    const char *text, *rest;
  };
  for (const Case& c : {
           Case{"the end", "the end"},
           Case{"<|begin_of_text|>the end", "the end"},
           Case{"<s> the end</s>", "the end"},
           Case{"<|begin_of_text|><|begin_of_text|>the end<|eot_id|>", "the end"},
           Case{"<\xEF\xBD\x9C"
                "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>the end",
                "the end"},
           Case{"[CLS] the end [SEP]", "the end"},
           Case{" the end ", " the end "},
           Case{"a<|x|>b", "a<|x|>b"},
           Case{"<b>bold</b>", "<b>bold</b>"},
           Case{"<| is no token |>x", "<| is no token |>x"},
           Case{"", ""},
           Case{"<s>", ""},
       }) {
    EXPECT_EQ(without_special_tokens(c.text), c.rest) << c.text;
  }
}

trace::RunResult result(const std::string& prompt, std::vector<int32_t> ids) {
  trace::RunResult result;
  result.prompt = prompt;
  result.prompt_tokens = std::move(ids);
  return result;
}

TEST(PromptTexts, OtherTextsAreAnErrorThatShowsBoth) {
  const Status status = check_prompts(result("2+2=", {1, 2}), result("the end", {1, 3}));
  ASSERT_FALSE(status);
  EXPECT_EQ(exit_code(status.error().code), 2);
  EXPECT_THAT(status.error().line(), HasSubstr("the subject \"2+2=\", the reference \"the end\""));
  EXPECT_FALSE(check_prompts(result("", {1}), result("the end", {1, 3}))) << "an empty text is a text";
  EXPECT_FALSE(check_prompts(result("the  end", {1}), result("the end", {1, 3}))) << "white space counts";
}

TEST(PromptTexts, WhatIsNoOtherTextIsForTheComparison) {
  EXPECT_TRUE(check_prompts(result("the end", {1, 3}), result("the end", {3})));
  EXPECT_TRUE(check_prompts(result("<|begin_of_text|>the end", {1, 1, 3}), result("the end", {1, 3})));
  EXPECT_TRUE(check_prompts(result("the end", {1, 3}), result(" the end", {1, 3}))) << "equal ids are equal prompts";
  trace::RunResult by_ids = result("", {5, 6});
  by_ids.prompt_is_text = false;
  EXPECT_TRUE(check_prompts(by_ids, result("the end", {1, 3})));
  EXPECT_TRUE(check_prompts(result("", {5, 6, 7}), result("the end", {1, 3}))) << "as recordings by ids once had it";
}

}  // namespace
}  // namespace tern::app
