#include "tern/app/probe_text.h"

#include <gtest/gtest.h>

namespace tern::app {
namespace {

const std::vector<int32_t> kVaried = {1, 2, 3, 4, 5, 6, 7, 8};

TEST(ProbeText, ProsePasses) {
  for (const char* text : {", there was a little girl named Lily. She didn't like rain!", " Paris",
                           "\"Well-known,\" he said.", " de l'\xc3\xa9t\xc3\xa9 \xc3\xa0 Paris"}) {
    const ProbeText probe = judge_probe(text, kVaried);
    EXPECT_TRUE(probe.problems.empty()) << text << ": " << probe.problems.front();
  }
}

TEST(ProbeText, GibberishFails) {
  for (const char* text : {"", "   ", "12 34 56", "@# $% x1y2 q", "a b c", "the \x01\x02 end", "the \xef\xbf\xbd end",
                           "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", "w0rd th3 qu1ck good"}) {
    EXPECT_FALSE(judge_probe(text, kVaried).problems.empty()) << text;
  }
}

TEST(ProbeText, OneTokenRepeatedFails) {
  EXPECT_FALSE(judge_probe("the the the the the the", std::vector<int32_t>(6, 9)).problems.empty());
  EXPECT_TRUE(judge_probe("the the", std::vector<int32_t>(2, 9)).problems.empty());
}

TEST(ProbeText, CountsAreWhatTheySay) {
  const ProbeText probe = judge_probe("One two3 it's - ok.\n", kVaried);
  EXPECT_EQ(probe.n_tokens, 8U);
  EXPECT_EQ(probe.n_words, 5U);
  EXPECT_EQ(probe.n_alphabetic_words, 3U);
  EXPECT_EQ(probe.n_long_words, 2U);
  EXPECT_DOUBLE_EQ(probe.mean_word_bytes, 3.0);
  EXPECT_DOUBLE_EQ(probe.most_frequent_token_share, 0.125);
}

TEST(ProbeText, NothingGeneratedFails) { EXPECT_FALSE(judge_probe("", {}).problems.empty()); }

}  // namespace
}  // namespace tern::app
