// The same ids from a GGUF's own vocabulary, and where the two sources disagree.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tern/tokenizer/behaviour.h"
#include "tokenizer/small_tokenizer.h"

namespace tern::tokenizer::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Tokenizer must_load_gguf(const gguf::Header& header) {
  auto tokenizer = load(header);
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().line();
    std::abort();
  }
  return std::move(*tokenizer);
}

std::vector<std::string> warnings_of(const Tokenizer& tokenizer) {
  return {tokenizer.warnings().begin(), tokenizer.warnings().end()};
}

TEST(GgufVocabulary, EncodesLikeTheTokenizerJson) {
  const Tokenizer gguf = must_load_gguf(small_gguf());
  const Tokenizer json = must_load(small_json());
  for (const char* text :
       {"", "hello world", "0123 1234", "he<|end_of_text|>ll", "don't  \n\n x", "\u00E9\u3000\u4F60"}) {
    EXPECT_EQ(ids_of(gguf, text, true), ids_of(json, text, true)) << text;
    EXPECT_EQ(gguf.decode(ids_of(gguf, text), true).value(), text);
  }
  EXPECT_EQ(gguf.kind(), "gguf");
  EXPECT_EQ(gguf.bos(), kBos);
  EXPECT_EQ(gguf.sha256().size(), 64u);
  EXPECT_THAT(gguf.end_of_text(), ElementsAre(kEos));
  EXPECT_THAT(warnings_of(gguf), IsEmpty());
  EXPECT_THAT(disagreements(json, gguf), IsEmpty());
}

TEST(GgufVocabulary, PreTokenizerDecidesPiecesMergesAndBos) {
  gguf::Header header = small_gguf();
  const auto with_pre = [&](const std::string& name) {
    set(header, "tokenizer.ggml.pre", name);
    return must_load_gguf(header);
  };
  EXPECT_THAT(ids_of(with_pre("llama-bpe"), "1234", true), ElementsAre(kBos, k123, '4'));
  EXPECT_THAT(ids_of(with_pre("qwen2"), "1234", true), ElementsAre('1', '2', '3', '4'));
  EXPECT_THAT(ids_of(with_pre("gpt-2"), "01234", true), ElementsAre('0', k123, '4'));
  EXPECT_THAT(ids_of(with_pre("starcoder"), "12", true), ElementsAre('1', '2'));
  EXPECT_THAT(ids_of(with_pre("default"), "01234", true), ElementsAre('0', k12, '3', '4'));  // [0-9]{3} are cut out
  EXPECT_THAT(ids_of(with_pre("falcon3"), "12", true), ElementsAre('1', '2'));
  EXPECT_THAT(ids_of(with_pre("tekken"), "12", true), ElementsAre(kBos, '1', '2'));
  EXPECT_THAT(ids_of(with_pre("dbrx"), "hello 12", true), ElementsAre(kHello, ' ', k12));
  set(header, "tokenizer.ggml.add_bos_token", true);
  EXPECT_THAT(ids_of(with_pre("qwen2"), "1", true), ElementsAre(kBos, '1'));
}

TEST(GgufVocabulary, MissingPreIsToldAndReadAsDefault) {
  gguf::Header header = small_gguf();
  erase(header, "tokenizer.ggml.pre");
  // No merge makes "12", so that only the rules that take whole pieces for tokens reach it.
  set(header, "tokenizer.ggml.merges", std::vector<std::string>{"h e", "l l", "he ll", "hell o", "\u0120 w"});
  Json json = small_json();
  json["model"]["merges"] = {"h e", "l l", "he ll", "hell o", "\u0120 w"};
  const Tokenizer tokenizer = must_load_gguf(header);
  EXPECT_THAT(warnings_of(tokenizer), ElementsAre(HasSubstr("tokenizer.ggml.pre")));
  EXPECT_EQ(tokenizer.bos(), std::nullopt);
  EXPECT_EQ(tokenizer.declared_bos(), kBos);
  EXPECT_THAT(disagreements(must_load(json), tokenizer),
              ElementsAre(AllOf(HasSubstr("BOS"), HasSubstr("it lacks tokenizer.ggml.pre")),
                          AllOf(HasSubstr("the first is '12', where the first piece that differs is '12' [261] by the "
                                          "tokenizer.json and '12' [49, 50] by the GGUF"),
                                HasSubstr("lacks the key tokenizer.ggml.pre"))));
}

TEST(GgufVocabulary, BosAndEos) {
  gguf::Header header = small_gguf();
  set(header, "tokenizer.ggml.add_bos_token", false);
  EXPECT_THAT(ids_of(must_load_gguf(header), "he", true), ElementsAre(kHe));
  EXPECT_THAT(disagreements(must_load(small_json()), must_load_gguf(header)),
              ElementsAre(HasSubstr("add_bos_token is false")));
  set(header, "tokenizer.ggml.add_bos_token", true);
  set(header, "tokenizer.ggml.add_eos_token", true);
  EXPECT_THAT(ids_of(must_load_gguf(header), "he", true), ElementsAre(kBos, kHe, kEos));
  erase(header, "tokenizer.ggml.bos_token_id");
  const Tokenizer without = must_load_gguf(header);
  EXPECT_THAT(ids_of(without, "he", true), ElementsAre(11, kHe, kEos));  // llama.cpp's default
  EXPECT_THAT(warnings_of(without), ElementsAre(HasSubstr("bos_token_id")));
  set(header, "tokenizer.ggml.eot_token_id", uint32_t{5});
  EXPECT_THAT(must_load_gguf(header).end_of_text(), ElementsAre(5, kEos));
}

TEST(GgufVocabulary, TokenTypes) {
  gguf::Header header = small_gguf();
  auto tokens = small_vocabulary();
  std::vector<int32_t> types(tokens.size(), 1);
  const auto add = [&](const char* spelled, int32_t type) {
    tokens.emplace_back(spelled);
    types.push_back(type);
  };
  add("<|begin_of_text|>", 3);
  add("<|end_of_text|>", 3);
  add("\u00E9t\u00E9", 4);  // user-defined: its spelling is its text
  add("", 5);
  set(header, "tokenizer.ggml.tokens", tokens);
  set(header, "tokenizer.ggml.token_type", types);
  const Tokenizer tokenizer = must_load_gguf(header);
  EXPECT_THAT(ids_of(tokenizer, "a\u00E9t\u00E9"), ElementsAre('a', kEos + 1));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{kEos + 1}).value(), "\u00E9t\u00E9");
  EXPECT_FALSE(tokenizer.is_special(kEos + 1));
  EXPECT_EQ(tokenizer.token(kEos + 2), "[EMPTY_266]");
}

TEST(Disagreements, SizeSpellingAndBos) {
  Json json = small_json();
  json["added_tokens"][0]["content"] = "<s>";
  json["post_processor"] = nullptr;
  json["added_tokens"].push_back(added_token("<x>", 300, false));
  const auto found = disagreements(must_load(json), must_load_gguf(small_gguf()));
  EXPECT_THAT(found, Contains(AllOf(HasSubstr("301"), HasSubstr("265"))));
  EXPECT_THAT(found, Contains(AllOf(HasSubstr("spelling: 1 of 265"), HasSubstr("263 is '<s>'"))));
  EXPECT_THAT(found, Contains(AllOf(HasSubstr("BOS"), HasSubstr("nothing"), HasSubstr("id 263"))));
  EXPECT_THAT(found, Contains(AllOf(HasSubstr("encoding: "), HasSubstr("takes that for a special token"))));
  EXPECT_EQ(found.size(), 4u);
}

// The same vocabulary, and other ids all the same: sizes and spellings do not show it.
TEST(Disagreements, BehaviourThatDiffersIsShownWithTextPieceAndReason) {
  const Tokenizer json = must_load(small_json());
  const auto found = [&](const gguf::Header& header) { return disagreements(json, must_load_gguf(header)); };
  EXPECT_THAT(found(small_gguf()), IsEmpty());

  gguf::Header other_pre = small_gguf();
  set(other_pre, "tokenizer.ggml.pre", std::string("qwen2"));
  set(other_pre, "tokenizer.ggml.add_bos_token", true);
  EXPECT_THAT(found(other_pre),
              ElementsAre(AllOf(HasSubstr("the first is '12', where the first piece that differs is '12' [261] by the "
                                          "tokenizer.json and '1' [49] by the GGUF"),
                                HasSubstr("tokenizer.ggml.pre is 'qwen2'"))));

  gguf::Header other_merges = small_gguf();
  set(other_merges, "tokenizer.ggml.merges", std::vector<std::string>{"h e", "l l", "he ll", "hell o", "1 2", "12 3"});
  EXPECT_THAT(found(other_merges), ElementsAre(HasSubstr("the merges (tokenizer.ggml.merges) are not the same")));

  gguf::Header with_eos = small_gguf();
  set(with_eos, "tokenizer.ggml.add_eos_token", true);
  EXPECT_THAT(found(with_eos),
              ElementsAre(AllOf(HasSubstr("EOS: the tokenizer.json puts nothing behind a text, the GGUF id 264"),
                                HasSubstr("tokenizer.ggml.add_eos_token"))));

  gguf::Header no_special = small_gguf();
  auto types = std::vector<int32_t>(small_vocabulary().size() + 2, 1);
  types[static_cast<size_t>(kBos)] = 3;
  set(no_special, "tokenizer.ggml.token_type", types);
  EXPECT_THAT(found(no_special), ElementsAre(AllOf(HasSubstr("'a<|end_of_text|> b'"),
                                                   HasSubstr("only one of them takes that for a special token"))));
}

// Each byte that UTF-8 can have stands in one of the texts.
TEST(Disagreements, TheTextsHaveEveryByte) {
  const Tokenizer json = must_load(small_json());
  std::set<unsigned char> bytes;
  for (const std::string& text : probe_texts(json, json)) {
    EXPECT_TRUE(json.encode(text, false)) << printable(text);
    bytes.insert(text.begin(), text.end());
  }
  for (int byte = 0; byte < 0x100; ++byte) {
    const bool is_never_used = byte == 0xC0 || byte == 0xC1 || byte > 0xF4;
    EXPECT_EQ(bytes.contains(static_cast<unsigned char>(byte)), !is_never_used) << byte;
  }
}

TEST(Tokenizer, PiecesGiveTheIdsOfTheText) {
  const Tokenizer json = must_load(small_json());
  const auto pieces = json.pieces("hello 123<|end_of_text|>");
  ASSERT_TRUE(pieces);
  std::string shown;
  for (const Tokenizer::Piece& piece : *pieces) {
    shown += piece.text + (piece.is_token ? "!" : "") + testing::PrintToString(piece.ids) + ";";
  }
  EXPECT_EQ(shown, "hello{ 259 }; { 32 };123{ 262 };<|end_of_text|>!{ 264 };");
}

// "▁a" and "b" as in the small story models: scores instead of merges.
gguf::Header small_sentencepiece() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<float> scores = {0, 0, 0};
  std::vector<int32_t> types = {2, 3, 3};
  const auto add = [&](const std::string& token, float score, int32_t type) {
    tokens.push_back(token);
    scores.push_back(score);
    types.push_back(type);
  };
  for (int byte = 0; byte < 256; ++byte) {
    std::array<char, 8> name{};
    std::snprintf(name.data(), name.size(), "<0x%02X>", static_cast<unsigned>(byte));
    add(name.data(), 0, 6);
  }
  add("\u2581", -5, 1);   // 259
  add("a", -6, 1);        // 260
  add("b", -7, 1);        // 261
  add("ab", -1, 1);       // 262
  add("\u2581a", -2, 1);  // 263
  add("ba", -0.5F, 1);    // 264
  gguf::Header header;
  header.add("general.architecture", std::string("llama"));
  header.add("tokenizer.ggml.model", std::string("llama"));
  header.add("tokenizer.ggml.tokens", tokens);
  header.add("tokenizer.ggml.scores", scores);
  header.add("tokenizer.ggml.token_type", types);
  header.add("tokenizer.ggml.bos_token_id", uint32_t{1});
  header.add("tokenizer.ggml.eos_token_id", uint32_t{2});
  return header;
}

TEST(SentencePiece, JoinsByScore) {
  gguf::Header header = small_sentencepiece();
  const Tokenizer tokenizer = must_load_gguf(header);
  EXPECT_THAT(ids_of(tokenizer, "a", true), ElementsAre(1, 263));
  EXPECT_THAT(ids_of(tokenizer, "ab", true), ElementsAre(1, 259, 262));   // "ab" beats "▁a"
  EXPECT_THAT(ids_of(tokenizer, "aba", true), ElementsAre(1, 263, 264));  // "ba" beats both
  EXPECT_THAT(ids_of(tokenizer, "a\n", true), ElementsAre(1, 263, 3 + '\n'));
  EXPECT_THAT(ids_of(tokenizer, "", true), ElementsAre(1));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{1, 263, 264, 3 + 0xC3, 3 + 0xA9}).value(), " aba\u00E9");
  set(header, "tokenizer.ggml.add_space_prefix", false);
  EXPECT_THAT(ids_of(must_load_gguf(header), "ab", true), ElementsAre(1, 262));
}

}  // namespace
}  // namespace tern::tokenizer::test
