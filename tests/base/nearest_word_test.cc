// The word that was probably meant, or none where nothing is near.
#include "tern/base/nearest_word.h"

#include <gtest/gtest.h>

namespace tern {
namespace {

const std::vector<std::string> kWords = {"attn_norm", "attn_out", "ffn_norm", "logits"};

TEST(NearestWord, OneEditAway) {
  EXPECT_EQ(nearest_word("atn_norm", kWords), "attn_norm");
  EXPECT_EQ(nearest_word("logit", kWords), "logits");
  EXPECT_EQ(nearest_word("ffn_nrom", kWords), "ffn_norm");
}

TEST(NearestWord, NoneWhereMoreThanAThirdWouldChange) {
  EXPECT_EQ(nearest_word("banana", kWords), std::nullopt);
  EXPECT_EQ(nearest_word("", kWords), std::nullopt);
  EXPECT_EQ(nearest_word("logits", {}), std::nullopt);
}

TEST(NearestWord, TheOnlyOneThatBeginsWithIt) {
  EXPECT_EQ(nearest_word("log", kWords), "logits");
  EXPECT_EQ(nearest_word("attn", kWords), std::nullopt) << "two begin with it";
}

TEST(NearestWord, LongWordsFromOutsideAreCut) {
  EXPECT_EQ(nearest_word(std::string(100'000, 'x'), kWords), std::nullopt);
  EXPECT_EQ(nearest_word("logits", {std::string(100'000, 'l')}), std::nullopt);
}

}  // namespace
}  // namespace tern
