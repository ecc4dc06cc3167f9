// From a tokenizer.json to ids and back, on a vocabulary small enough to check by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/small_tokenizer.h"

namespace tern::tokenizer::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Encode, MergesWithinPieces) {
  const Tokenizer tokenizer = must_load(small_json());
  EXPECT_THAT(ids_of(tokenizer, "hello"), ElementsAre(kHello));
  EXPECT_THAT(ids_of(tokenizer, "hell"), ElementsAre(kHell));
  EXPECT_THAT(ids_of(tokenizer, "hel"), ElementsAre(kHe, 'l'));
  EXPECT_THAT(ids_of(tokenizer, "hello world"), ElementsAre(kHello, kSpaceW, 'o', 'r', 'l', 'd'));
  EXPECT_THAT(ids_of(tokenizer, "1234"), ElementsAre(k123, '4'));      // \p{N}{1,3}
  EXPECT_THAT(ids_of(tokenizer, "0123"), ElementsAre('0', k12, '3'));  // "012", "3"
  EXPECT_THAT(ids_of(tokenizer, ""), ElementsAre());
  EXPECT_THAT(ids_of(tokenizer, "\xC3\xA9"), ElementsAre(0xC3, 0xA9));
  EXPECT_THAT(ids_of(tokenizer, std::string(1, '\0')), ElementsAre(0));
}

TEST(Encode, IgnoreMergesTakesWholePieces) {
  // "lo" is a token that no merge makes.
  Json json = small_json();
  json["model"]["vocab"]["lo"] = 300;
  EXPECT_THAT(ids_of(must_load(json), "lo"), ElementsAre(300));
  EXPECT_THAT(ids_of(must_load(json), "lo lo"), ElementsAre(300, ' ', 'l', 'o'));
  json["model"]["ignore_merges"] = false;
  EXPECT_THAT(ids_of(must_load(json), "lo"), ElementsAre('l', 'o'));
  json["model"].erase("ignore_merges");
  EXPECT_THAT(ids_of(must_load(json), "lo"), ElementsAre('l', 'o'));
}

TEST(Encode, MergesAsPairs) {
  Json json = small_json();
  json["model"]["merges"] = Json::array({{"h", "e"}, {"l", "l"}});
  EXPECT_THAT(ids_of(must_load(json), "xhell"), ElementsAre('x', kHe, kLl));
}

TEST(Encode, TemplatePutsBosInFront) {
  const Tokenizer tokenizer = must_load(small_json());
  EXPECT_EQ(tokenizer.bos(), kBos);
  EXPECT_THAT(ids_of(tokenizer, "hello", true), ElementsAre(kBos, kHello));
  EXPECT_THAT(ids_of(tokenizer, "", true), ElementsAre(kBos));
  // The text's own BOS is kept, as the Hugging Face library does.
  EXPECT_THAT(ids_of(tokenizer, "<|begin_of_text|>hello", true), ElementsAre(kBos, kBos, kHello));
}

TEST(Encode, SequenceOfPostProcessors) {
  Json json = small_json();
  json["post_processor"] = sequence("processors", {byte_level(true, true), template_with_bos()});
  EXPECT_THAT(ids_of(must_load(json), "hello", true), ElementsAre(kBos, kHello));
  json["post_processor"] = byte_level(true, true);
  EXPECT_THAT(ids_of(must_load(json), "hello", true), ElementsAre(kHello));
  EXPECT_EQ(must_load(json).bos(), std::nullopt);
}

TEST(Encode, TemplateMayHaveASuffix) {
  Json json = small_json();
  json["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "end"}, {"type_id", 0}}}});
  json["post_processor"]["special_tokens"]["end"] = {{"id", "end"}, {"ids", {kEos, kEos}}, {"tokens", {"a", "b"}}};
  EXPECT_THAT(ids_of(must_load(json), "hello", true), ElementsAre(kBos, kHello, kEos, kEos));
}

TEST(Encode, AddedTokensInText) {
  const Tokenizer tokenizer = must_load(small_json());
  EXPECT_THAT(ids_of(tokenizer, "he<|end_of_text|>ll"), ElementsAre(kHe, kEos, kLl));
  EXPECT_THAT(ids_of(tokenizer, "<|end_of_text|><|end_of_text|>"), ElementsAre(kEos, kEos));
  EXPECT_THAT(ids_of(tokenizer, "<<|end_of_text|>>"), ElementsAre('<', kEos, '>'));
  EXPECT_EQ(ids_of(tokenizer, "<|end_of_text|").size(), 14u);
}

TEST(Encode, AddedTokensLongestOfLeftmost) {
  Json json = small_json();
  json["added_tokens"].push_back(added_token("ab", 270, false));
  json["added_tokens"].push_back(added_token("abc", 271, false));
  json["added_tokens"].push_back(added_token("bcd", 272, false));
  EXPECT_THAT(ids_of(must_load(json), "abcd"), ElementsAre(271, 'd'));
  EXPECT_THAT(ids_of(must_load(json), "abbcd"), ElementsAre(270, 272));
}

TEST(Encode, AddedTokenOptions) {
  Json json = small_json();
  json["added_tokens"].push_back(added_token("<m>", 270, false));
  Json& token = json["added_tokens"].back();
  token["lstrip"] = true;
  EXPECT_THAT(ids_of(must_load(json), "x \t <m> y"), ElementsAre('x', 270, ' ', 'y'));
  token["lstrip"] = false;
  token["rstrip"] = true;
  EXPECT_THAT(ids_of(must_load(json), "x <m> \xE3\x80\x80y"), ElementsAre('x', ' ', 270, 'y'));
  token["rstrip"] = false;
  token["single_word"] = true;
  EXPECT_THAT(ids_of(must_load(json), "<m>-<m>"), ElementsAre(270, '-', 270));
  EXPECT_THAT(ids_of(must_load(json), "<m>y<m>"), ElementsAre('<', 'm', '>', 'y', '<', 'm', '>'));
  EXPECT_THAT(ids_of(must_load(json), "\xCC\xB0<m>"), ElementsAre(0xCC, 0xB0, '<', 'm', '>'));  // a combining mark
}

TEST(Encode, NormalizedAddedTokens) {
  Json json = small_json();
  json["normalizer"] = {{"type", "NFC"}};
  json["added_tokens"].push_back(added_token("e\xCC\x81", 270, false));  // e and a combining acute
  EXPECT_THAT(ids_of(must_load(json), "e\xCC\x81 \xC3\xA9"), ElementsAre(270, ' ', 0xC3, 0xA9));
  json["added_tokens"].back()["normalized"] = true;
  EXPECT_THAT(ids_of(must_load(json), "e\xCC\x81 \xC3\xA9"), ElementsAre(270, ' ', 270));
}

TEST(Encode, Normalizers) {
  Json json = small_json();
  json["normalizer"] = {{"type", "NFD"}};
  EXPECT_THAT(ids_of(must_load(json), "\xC3\xA9"), ElementsAre('e', 0xCC, 0x81));
  json["normalizer"] = {{"type", "NFKC"}};
  EXPECT_THAT(ids_of(must_load(json), "\xEF\xBC\xA1"), ElementsAre('A'));  // full-width A
  json["normalizer"] = {{"type", "NFKD"}};
  EXPECT_THAT(ids_of(must_load(json), "\xEF\xAC\x81"), ElementsAre('f', 'i'));
  const Json prepend = {{"type", "Prepend"}, {"prepend", "_"}};
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", "."}}}, {"content", "!"}};
  json["normalizer"] = sequence("normalizers", {prepend, replace});
  EXPECT_THAT(ids_of(must_load(json), "a.b"), ElementsAre('_', 'a', '!', 'b'));
  json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "[ab]+"}}}, {"content", ""}};
  EXPECT_THAT(ids_of(must_load(json), "xabay"), ElementsAre('x', 'y'));
}

TEST(Encode, ByteLevelWithItsOwnPatternAndPrefixSpace) {
  Json json = small_json();
  json["pre_tokenizer"] = byte_level(false, true);
  EXPECT_THAT(ids_of(must_load(json), "hello1234"), ElementsAre(kHello, k123, '4'));  // \p{N}+ is one piece
  EXPECT_THAT(ids_of(must_load(json), "HE'LL"), ElementsAre('H', 'E', '\'', 'L', 'L'));
  json["pre_tokenizer"] = byte_level(true, true);
  EXPECT_THAT(ids_of(must_load(json), "w"), ElementsAre(kSpaceW));
  EXPECT_THAT(ids_of(must_load(json), " w"), ElementsAre(kSpaceW));
  EXPECT_THAT(ids_of(must_load(json), ""), ElementsAre());
  // Each stretch between added tokens gets its own space.
  EXPECT_THAT(ids_of(must_load(json), "w<|end_of_text|>w"), ElementsAre(kSpaceW, kEos, kSpaceW));
  json["pre_tokenizer"] = byte_level(false, false);
  json["model"]["ignore_merges"] = false;
  EXPECT_THAT(ids_of(must_load(json), "hello hello"), ElementsAre(kHello, ' ', kHello));
}

TEST(Encode, OtherPreTokenizers) {
  Json json = small_json();
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  json["pre_tokenizer"] = sequence("pretokenizers", {digits, byte_level(false, true)});
  EXPECT_THAT(ids_of(must_load(json), "hello123"), ElementsAre(kHello, '1', '2', '3'));
  json["pre_tokenizer"]["pretokenizers"][0]["individual_digits"] = false;
  EXPECT_THAT(ids_of(must_load(json), "hello123"), ElementsAre(kHello, k123));
  json["pre_tokenizer"]["pretokenizers"][0] = {{"type", "Punctuation"}};
  EXPECT_THAT(ids_of(must_load(json), "hell-hell"), ElementsAre(kHell, '-', kHell));
  json["pre_tokenizer"]["pretokenizers"][0] = {
      {"type", "Split"}, {"pattern", {{"String", "ll"}}}, {"behavior", "Removed"}, {"invert", false}};
  EXPECT_THAT(ids_of(must_load(json), "hello"), ElementsAre(kHe, 'o'));
}

TEST(Encode, InvalidUtf8IsRefusedWithItsOffset) {
  const Tokenizer tokenizer = must_load(small_json());
  for (const char* text : {"ab\xFF", "ab\xC0\x80", "ab\xED\xA0\x80", "ab\xF4\x90\x80\x80", "ab\xE2\x82", "ab\x80"}) {
    const auto ids = tokenizer.encode(text, false);
    ASSERT_FALSE(ids.has_value());
    EXPECT_EQ(ids.error().line(), "text @ byte 2: is not valid UTF-8");
    EXPECT_EQ(exit_code(ids.error().code), 3);
  }
}

TEST(Encode, MissingByteTokenIsAnErrorAndNotADroppedByte) {
  Json json = small_json();
  json["model"]["vocab"].erase("z");
  const Tokenizer tokenizer = must_load(json);
  EXPECT_THAT(ids_of(tokenizer, "hello"), ElementsAre(kHello));
  const auto ids = tokenizer.encode("xyz", false);
  ASSERT_FALSE(ids.has_value());
  EXPECT_THAT(ids.error().line(), HasSubstr("no token for byte 122"));
}

TEST(Encode, LongPiecesTakeNoQuadraticTime) {
  Json json = small_json();
  json["model"]["vocab"]["aa"] = 300;
  json["model"]["vocab"]["aaaa"] = 301;
  json["model"]["merges"].push_back("a a");
  json["model"]["merges"].push_back("aa aa");
  const size_t n = size_t{1} << 20;
  const auto ids = ids_of(must_load(json), std::string(n, 'a') + "aaa");
  ASSERT_EQ(ids.size(), n / 4 + 2);
  EXPECT_EQ(ids[0], 301);
  EXPECT_EQ(ids[n / 4], 300);
  EXPECT_EQ(ids[n / 4 + 1], 'a');
  EXPECT_EQ(ids_of(must_load(small_json()), std::string(n, ' ')).size(), n);
  EXPECT_EQ(ids_of(must_load(small_json()), std::string(n, '<')).size(), n);
}

TEST(Decode, JoinsBytes) {
  const Tokenizer tokenizer = must_load(small_json());
  const std::string text = "hello w\xC3\xA9 123\n\t\x01 \xF0\x9F\x98\x80";
  EXPECT_EQ(tokenizer.decode(ids_of(tokenizer, text)).value(), text);
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{0xC3}).value(), "\xC3");
  const std::vector<int32_t> with_special = {kBos, kHello, kEos};
  EXPECT_EQ(tokenizer.decode(with_special).value(), "hello");
  EXPECT_EQ(tokenizer.decode(with_special, true).value(), "<|begin_of_text|>hello<|end_of_text|>");
}

TEST(Decode, AddedTokensAreTheirOwnText) {
  Json json = small_json();
  json["added_tokens"].push_back(
      added_token("\xC3\xA9t\xC3\xA9", 270, false));  // each character is in the byte alphabet
  const Tokenizer tokenizer = must_load(json);
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{270}).value(), "\xC3\xA9t\xC3\xA9");
}

TEST(Decode, RefusesIdsOutsideOfTheVocabulary) {
  Json json = small_json();
  json["added_tokens"].push_back(added_token("<x>", 300, false));
  const Tokenizer tokenizer = must_load(json);
  EXPECT_EQ(tokenizer.vocab_size(), 301);
  for (const int32_t id : {-1, 299, 301, INT32_MAX, INT32_MIN}) {
    const auto text = tokenizer.decode(std::vector<int32_t>{0, id});
    ASSERT_FALSE(text.has_value());
    EXPECT_THAT(text.error().line(), HasSubstr(std::to_string(id)));
  }
}

TEST(Vocabulary, LookUps) {
  const Tokenizer tokenizer = must_load(small_json());
  EXPECT_EQ(tokenizer.kind(), "hf-json");
  EXPECT_EQ(tokenizer.sha256().size(), 64u);
  EXPECT_EQ(tokenizer.vocab_size(), kEos + 1);
  EXPECT_EQ(tokenizer.token(kSpaceW), "Ġw");
  EXPECT_EQ(tokenizer.token(kEos), "<|end_of_text|>");
  EXPECT_EQ(tokenizer.token(kHello), "hello");
  EXPECT_EQ(tokenizer.token(-1), std::nullopt);
  EXPECT_EQ(tokenizer.token(kEos + 1), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(kBos));
  EXPECT_FALSE(tokenizer.is_special(kHello));
  EXPECT_FALSE(tokenizer.is_special(-5));
  EXPECT_THAT(tokenizer.end_of_text(), ElementsAre(kEos));
  EXPECT_TRUE(tokenizer.warnings().empty());
}

TEST(Vocabulary, UnusableMergesAreSkippedWithAWarning) {
  Json json = small_json();
  json["model"]["merges"].push_back("Ġt he");  // "Ġt" is no token
  const Tokenizer tokenizer = must_load(json);
  ASSERT_EQ(tokenizer.warnings().size(), 1u);
  EXPECT_THAT(tokenizer.warnings()[0], HasSubstr("/model/merges/7"));
  EXPECT_THAT(ids_of(tokenizer, "hello"), ElementsAre(kHello));
}

TEST(Vocabulary, TruncationIsNotAppliedAndSaidSo) {
  Json json = small_json();
  json["truncation"] = {{"max_length", 1}};
  const Tokenizer tokenizer = must_load(json);
  ASSERT_EQ(tokenizer.warnings().size(), 1u);
  EXPECT_EQ(ids_of(tokenizer, "hello world").size(), 6u);
}

}  // namespace
}  // namespace tern::tokenizer::test
