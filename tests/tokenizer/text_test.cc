// Splitting, patterns and the byte alphabet.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tern/tokenizer/text/pre_tokenizer.h"
#include "tern/tokenizer/text/unicode.h"

namespace tern::tokenizer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Regex must_compile(std::string_view pattern) {
  auto regex = Regex::compile(pattern, "here");
  EXPECT_TRUE(regex.has_value()) << regex.error().line();
  return std::move(*regex);
}

std::vector<std::string> split(std::string_view pattern, SplitBehavior behavior, bool invert, std::string_view text) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.add_split(must_compile(pattern), behavior, invert);
  const auto pieces = pre_tokenizer.split(text);
  EXPECT_TRUE(pieces.has_value());
  return {pieces->views.begin(), pieces->views.end()};
}

std::vector<std::string> found(std::string_view pattern, std::string_view text) {
  std::vector<Match> matches;
  EXPECT_TRUE(must_compile(pattern).find_all(text, matches));
  std::vector<std::string> texts;
  for (const Match& match : matches) {
    texts.emplace_back(text.substr(match.begin, match.end - match.begin));
  }
  return texts;
}

// The expectations are those of the Hugging Face library's documentation of the behaviors.
TEST(Split, Behaviors) {
  const char* words = R"(\w+|[^\w\s]+)";
  const char* text = "How are you doing?";
  EXPECT_THAT(split(words, SplitBehavior::kRemoved, true, text), ElementsAre("How", "are", "you", "doing", "?"));
  EXPECT_THAT(split(words, SplitBehavior::kIsolated, true, text),
              ElementsAre("How", " ", "are", " ", "you", " ", "doing", "?"));
  EXPECT_THAT(split(words, SplitBehavior::kMergedWithPrevious, true, text),
              ElementsAre("How ", "are ", "you ", "doing", "?"));
  EXPECT_THAT(split(words, SplitBehavior::kMergedWithNext, true, text),
              ElementsAre("How", " are", " you", " doing", "?"));
  EXPECT_THAT(split(words, SplitBehavior::kContiguous, true, text),
              ElementsAre("How", " ", "are", " ", "you", " ", "doing?"));
  EXPECT_THAT(split("-", SplitBehavior::kMergedWithPrevious, false, "the-final--countdown"),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(split("-", SplitBehavior::kMergedWithNext, false, "the-final--countdown"),
              ElementsAre("the", "-final", "-", "-countdown"));
}

TEST(Split, EmptyMatchesCut) {
  EXPECT_THAT(split("(?=b)", SplitBehavior::kIsolated, false, "abcb"), ElementsAre("a", "bc", "b"));
}

TEST(Split, LaterStepsSeeOnlyTheirPiece) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.add_split(must_compile("x"), SplitBehavior::kIsolated, false);
  pre_tokenizer.add_split(must_compile(R"(\s+(?!\S))"), SplitBehavior::kIsolated, false);
  pre_tokenizer.add_prefix_space();
  const auto pieces = pre_tokenizer.split("a  x  b");
  EXPECT_THAT(pieces->views, ElementsAre(" a", "  ", " x", " ", " b"));
}

TEST(Regex, WhiteSpaceIsUnicodes) {
  // PCRE2's own \s would have U+180E; the reference libraries' does not. U+0085 and U+2028 are white space, U+200B
  // is not.
  EXPECT_THAT(found(R"(\s+)", "a\u180Eb\u0085\u2028\u3000c\u200Bd"), ElementsAre("\u0085\u2028\u3000"));
  EXPECT_THAT(found(R"([^\s]+)", "a\u180Eb\u0085c"), ElementsAre("a\u180Eb", "c"));
  EXPECT_THAT(found(R"(\S+)", "a\u180E\u00A0b"), ElementsAre("a\u180E", "b"));
  EXPECT_THAT(found(R"([\Sx]+)", "a\u180E\u00A0b"), ElementsAre("a\u180E", "b"));
  EXPECT_THAT(found(R"([[:digit:]\s]+)", "a1 2b"), ElementsAre("1 2"));
  EXPECT_THAT(found(R"([]\s]+)", "a] b"), ElementsAre("] "));
  EXPECT_THAT(found(R"(\w+)", "e\u0301_1-\u2160"), ElementsAre("e\u0301_1", "\u2160"));
}

TEST(Regex, ContractionsFoldAsInUnicode) {
  EXPECT_THAT(found("(?i:'s)", "'s'S'\u017F"), ElementsAre("'s", "'S", "'\u017F"));
}

TEST(Regex, SearchesBeyondOneWindow) {
  const std::string far(5000, '-');
  EXPECT_THAT(found("[ab]", far + "a" + far + "b"), ElementsAre("a", "b"));
  std::string wide;
  for (int i = 0; i < 1000; ++i) {
    wide += "\u20AC";  // three bytes: windows end inside of characters
  }
  EXPECT_THAT(found("a|$", wide + "a" + wide), ElementsAre("a", ""));
}

TEST(Regex, RefusesWhatItWouldReadDifferently) {
  const auto error = [](std::string_view pattern) {
    const auto regex = Regex::compile(pattern, "tokenizer.json: /x");
    return regex ? std::string() : regex.error().line();
  };
  for (const char* pattern : {"(", "[", "a{2,1}", "\\", "(?<n", "*a", "[z-a]", "(?P<1>a)", "\\p{Nonsense}"}) {
    EXPECT_THAT(error(pattern), HasSubstr("tokenizer.json: /x: ")) << pattern;
  }
  EXPECT_THAT(error(""), HasSubstr("empty"));
  EXPECT_THAT(error("[a-z&&[aeiou]]"), HasSubstr("not supported"));
  EXPECT_THAT(error("(*UTF)a"), HasSubstr("verbs"));
  EXPECT_THAT(error("\\h"), HasSubstr("not supported"));
  EXPECT_THAT(error("\\Ca"), HasSubstr("not supported"));
  EXPECT_THAT(error(std::string(70'000, 'a')), HasSubstr("longer"));
  EXPECT_THAT(error(std::string(1000, '(') + std::string(1000, ')')), HasSubstr("invalid"));
}

TEST(Regex, HostilePatternsEndInAnError) {
  std::vector<Match> matches;
  for (const char* pattern : {"(a+)+b", "(a|aa)+b", "a*a*a*a*a*a*a*a*b", "(a*)*b", "((a+)+)+b"}) {
    const Status status = must_compile(pattern).find_all(std::string(3000, 'a') + "cb", matches);
    ASSERT_FALSE(status.has_value()) << pattern;
    EXPECT_THAT(status.error().line(), HasSubstr("too long")) << pattern;
  }
}

TEST(Unicode, ByteAlphabetIsReversible) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) {
    bytes.push_back(static_cast<char>(byte));
  }
  std::string spelled;
  append_spelling_of_bytes(bytes, spelled);
  EXPECT_FALSE(first_invalid_utf8(spelled));
  std::string back = "x";
  EXPECT_TRUE(append_bytes_of_spelling(spelled, back));
  EXPECT_EQ(back, "x" + bytes);
  append_spelling_of_bytes(" \n", spelled = "");
  EXPECT_EQ(spelled, "\u0120\u010A");
  for (const char* outside : {" ", "\u0144", "\u00AD", "a b", "\xFF", "\U0001F600"}) {
    EXPECT_FALSE(append_bytes_of_spelling(outside, back)) << outside;
    EXPECT_EQ(back, "x" + bytes);
  }
}

TEST(Unicode, FindsTheFirstInvalidByte) {
  EXPECT_EQ(first_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(first_invalid_utf8("a\u00E9\u20AC\U0001F600\U0010FFFF"), std::nullopt);
  EXPECT_EQ(first_invalid_utf8("\xF0\x9F\x98"), 0u);
  EXPECT_EQ(first_invalid_utf8("abc\xC3"), 3u);
  EXPECT_EQ(first_invalid_utf8("\xE0\x80\x80"), 0u);
  EXPECT_EQ(first_invalid_utf8("a\xF5\x80\x80\x80"), 1u);
}

}  // namespace
}  // namespace tern::tokenizer
