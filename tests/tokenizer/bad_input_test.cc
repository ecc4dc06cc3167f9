// What must be refused: each case gets one line that names the file, the place in it and the cause.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tokenizer/small_tokenizer.h"

namespace tern::tokenizer::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string error_of_text(std::string_view json) {
  const auto tokenizer = Tokenizer::from_json(json, "tokenizer.json");
  if (tokenizer) {
    return "";
  }
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kInvalidInput);
  const std::string line = tokenizer.error().line();
  EXPECT_EQ(line.find('\n'), std::string::npos);
  return line;
}

struct BadJson {
  const char* pointer;  // of the value to replace, RFC 6901
  Json value;           // discarded: erase the value instead
  const char* place;
  const char* cause;
};

void expect_refused(const BadJson& bad) {
  Json json = small_json();
  const Json::json_pointer pointer(bad.pointer);
  if (bad.value.is_discarded()) {
    json[pointer.parent_pointer()].erase(pointer.back());
  } else {
    json[pointer] = bad.value;
  }
  EXPECT_THAT(error_of_text(json.dump()),
              AllOf(StartsWith("tokenizer.json: " + std::string(bad.place)), HasSubstr(bad.cause)))
      << bad.pointer << " = " << bad.value.dump();
}

const Json kErased(Json::value_t::discarded);

TEST(BadTokenizerJson, WrongTypes) {
  for (const BadJson& bad : std::vector<BadJson>{
           {"/model", 7, "/model", "not an object"},
           {"/model", kErased, "/", "has no key 'model'"},
           {"/model/vocab", kErased, "/model", "has no key 'vocab'"},
           {"/model/merges", kErased, "/model", "has no key 'merges'"},
           {"/model/type", 3, "/model/type", "is a number, not a string"},
           {"/model/vocab", Json::array(), "/model/vocab", "is an array, not an object"},
           {"/model/vocab", "x", "/model/vocab", "is a string, not an object"},
           {"/model/vocab", Json::object(), "/model/vocab", "is empty"},
           {"/model/vocab/hello", "x", "/model/vocab/hello", "is a string, not an integer"},
           {"/model/vocab/hello", 1.5, "/model/vocab/hello", "is a number, not an integer"},
           {"/model/vocab/hello", nullptr, "/model/vocab/hello", "is null, not an integer"},
           {"/model/vocab/~1", true, "/model/vocab/~1", "is a boolean, not an integer"},
           {"/model/merges", "h e", "/model/merges", "is a string, not an array"},
           {"/model/merges/3", 5, "/model/merges/3", "is not a merge"},
           {"/model/merges/3", "hello", "/model/merges/3", "is not a merge"},
           {"/model/merges/3", "a b c", "/model/merges/3", "is not a merge"},
           {"/model/merges/3", Json::array({"a"}), "/model/merges/3", "is not a merge"},
           {"/model/merges/3", Json::array({"a", 1}), "/model/merges/3", "is not a merge"},
           {"/model/ignore_merges", 1, "/model/ignore_merges", "is a number, not a boolean"},
           {"/model/byte_fallback", "no", "/model/byte_fallback", "not a boolean"},
           {"/added_tokens", 5, "/added_tokens", "not an array"},
           {"/added_tokens/0", "x", "/added_tokens/0", "not an object"},
           {"/added_tokens/0/id", "x", "/added_tokens/0/id", "not an integer"},
           {"/added_tokens/0/id", kErased, "/added_tokens/0", "has no key 'id'"},
           {"/added_tokens/0/content", kErased, "/added_tokens/0", "has no key 'content'"},
           {"/added_tokens/0/content", 1, "/added_tokens/0/content", "not a string"},
           {"/added_tokens/0/special", "yes", "/added_tokens/0/special", "not a boolean"},
           {"/normalizer", 1, "/normalizer", "not an object"},
           {"/pre_tokenizer", kErased, "/", "has no pre_tokenizer"},
           {"/pre_tokenizer", nullptr, "/", "has no pre_tokenizer"},
           {"/pre_tokenizer", "ByteLevel", "/pre_tokenizer", "not an object"},
           {"/pre_tokenizer/type", kErased, "/pre_tokenizer", "has no key 'type'"},
           {"/pre_tokenizer/pretokenizers", 1, "/pre_tokenizer/pretokenizers", "not an array"},
           {"/pre_tokenizer/pretokenizers/0/pattern", "x", "/pre_tokenizer/pretokenizers/0/pattern", "not an object"},
           {"/pre_tokenizer/pretokenizers/0/pattern/Regex", 1, "/pre_tokenizer/pretokenizers/0/pattern/Regex",
            "not a string"},
           {"/post_processor", Json::array(), "/post_processor", "not an object"},
           {"/post_processor/single", 1, "/post_processor/single", "not an array"},
           {"/decoder", 1, "/decoder", "not an object"},
       }) {
    expect_refused(bad);
  }
}

TEST(BadTokenizerJson, IdsOutOfRange) {
  for (const Json& id :
       {Json(-1), Json(INT64_MIN), Json(Json::number_integer_t{1} << 22), Json(INT32_MAX), Json(INT64_MAX)}) {
    expect_refused({"/model/vocab/hello", id, "/model/vocab/hello", "is outside of 0..4194303"});
    expect_refused({"/added_tokens/1/id", id, "/added_tokens/1/id", "is outside of 0..4194303"});
  }
  expect_refused({"/model/vocab/hello", UINT64_MAX, "/model/vocab/hello", "fits 64 bits"});
  expect_refused({"/model/vocab/hello", 5, "/model/vocab/hello", "token id 5 is given twice"});
  expect_refused({"/added_tokens/1/id", 5, "/added_tokens/1", "token id 5 is given twice"});
  expect_refused({"/added_tokens/1/content", "hello", "/added_tokens/1", "is given twice, as id 259 and as id 264"});
  expect_refused({"/added_tokens/1/content", "", "/added_tokens/1/content", "0 bytes"});
  expect_refused({"/added_tokens/1/content", std::string(2000, 'x'), "/added_tokens/1/content", "2000 bytes"});
}

TEST(BadTokenizerJson, DuplicateSpellings) {
  std::string text = small_json().dump();
  const size_t at = text.find("\"hello\":259");
  ASSERT_NE(at, std::string::npos);
  text.insert(at, "\"hello\":400,");
  EXPECT_THAT(error_of_text(text), AllOf(HasSubstr("/model/vocab/hello"), HasSubstr("as id 400 and as id 259")));
  Json json = small_json();
  json["added_tokens"].push_back(json["added_tokens"][0]);
  EXPECT_THAT(error_of_text(json.dump()), AllOf(HasSubstr("/added_tokens/2"), HasSubstr("listed twice")));
}

TEST(BadTokenizerJson, Merges) {
  expect_refused({"/model/merges/3", "o x", "/model/merges/3", "makes a token that the vocabulary does not have"});
  expect_refused({"/model/merges/3", "h e", "/model/merges/3", "is listed twice"});
}

TEST(BadTokenizerJson, UnsupportedPartsAreNamed) {
  for (const char* type : {"Unigram", "WordPiece", "WordLevel", "\n\x1b[31m"}) {
    expect_refused({"/model/type", type, "/model/type", "is not supported (supported: BPE)"});
  }
  expect_refused({"/model/dropout", 0.1, "/model/dropout", "random"});
  expect_refused({"/model/dropout", "x", "/model/dropout", "random"});
  expect_refused({"/model/continuing_subword_prefix", "##", "/model", "continuing_subword_prefix"});
  expect_refused({"/model/end_of_word_suffix", "</w>", "/model", "end_of_word_suffix"});
  expect_refused({"/normalizer", {{"type", "Lowercase"}}, "/normalizer", "'Lowercase'"});
  expect_refused({"/pre_tokenizer", {{"type", "Metaspace"}}, "/pre_tokenizer", "'Metaspace'"});
  expect_refused({"/pre_tokenizer", split("x"), "/pre_tokenizer", "has no ByteLevel"});
  expect_refused({"/pre_tokenizer", sequence("pretokenizers", {byte_level(false, true), split("x")}),
                  "/pre_tokenizer/pretokenizers/1", "after ByteLevel"});
  expect_refused(
      {"/pre_tokenizer/pretokenizers/0/behavior", "Sideways", "/pre_tokenizer/pretokenizers/0/behavior", "'Sideways'"});
  expect_refused({"/post_processor", {{"type", "BertProcessing"}}, "/post_processor", "'BertProcessing'"});
  expect_refused({"/decoder", {{"type", "WordPiece"}}, "/decoder", "'WordPiece'"});
  Json json = small_json();
  json["model"]["vocab"].erase("z");
  json["model"]["byte_fallback"] = true;
  EXPECT_THAT(error_of_text(json.dump()), HasSubstr("byte_fallback"));
  json["model"]["byte_fallback"] = false;
  json["model"]["unk_token"] = "a";
  EXPECT_THAT(error_of_text(json.dump()), HasSubstr("unk_token"));
}

TEST(BadTokenizerJson, Patterns) {
  const char* place = "/pre_tokenizer/pretokenizers/0/pattern/Regex";
  for (const char* pattern : {"(", "", "[a&&b]", "a{99999999}", "(?:(?:(?:(?:(?:a{999}){999}){999}){999}){999})"}) {
    expect_refused({place, pattern, place, "pattern"});
  }
  expect_refused(
      {"/pre_tokenizer/pretokenizers/0/pattern", Json::object(), "/pre_tokenizer/pretokenizers/0/pattern", "neither"});
}

TEST(BadTokenizerJson, Templates) {
  expect_refused({"/post_processor/single", Json::array(), "/post_processor/single", "lacks the sequence A"});
  expect_refused({"/post_processor/single/1/Sequence/id", "B", "/post_processor/single/1", "sequence A once"});
  expect_refused({"/post_processor/single/0/SpecialToken/id", "<x>", "/post_processor/special_tokens", "no key '<x>'"});
  const char* ids = "/post_processor/special_tokens/<|begin_of_text|>/ids/0";
  for (const int64_t id : {int64_t{-1}, int64_t{265}, int64_t{1} << 40}) {
    expect_refused({ids, id, ids, "is not in the vocabulary of 265"});
  }
  expect_refused({ids, "x", ids, "not an integer"});
}

TEST(BadTokenizerJson, Nesting) {
  Json step = byte_level(false, true);
  for (int depth = 0; depth < 20; ++depth) {
    step = sequence("pretokenizers", {step});
  }
  Json json = small_json();
  json["pre_tokenizer"] = step;
  EXPECT_THAT(error_of_text(json.dump()), HasSubstr("nested deeper"));
  for (const size_t depth : {size_t{100}, size_t{2000}, size_t{1'000'000}}) {
    EXPECT_NE(error_of_text(std::string(depth, '[')), "");
    EXPECT_NE(error_of_text("{\"model\":" + std::string(depth, '[') + std::string(depth, ']') + "}"), "");
  }
}

TEST(BadTokenizerJson, NotJson) {
  for (const char* text : {"", " ", "x", "{", "[]", "null", "7", "\"a\"", "{}", "{\"model\":}", "{\"a\":1,}",
                           "\xEF\xBB\xBF", "{\"a\":\"\xFF\"}", "{\"a\":\"\\ud800\"}", "{\"a\":1e999}", "{\"a\":1} x"}) {
    EXPECT_THAT(error_of_text(text), StartsWith("tokenizer.json")) << text;
  }
}

TEST(BadTokenizerJson, TruncatedAnywhere) {
  const std::string text = small_json().dump();
  ASSERT_EQ(error_of_text(text), "");
  for (size_t size = 0; size < text.size(); size += 7) {
    EXPECT_NE(error_of_text(std::string_view(text).substr(0, size)), "") << size;
  }
}

TEST(BadTokenizerJson, DamagedBytesNeverCrash) {
  const std::string text = small_json().dump();
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = text;
    for (int i = 0; i < 1 + static_cast<int>(random() % 4); ++i) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    const auto tokenizer = Tokenizer::from_json(damaged, "tokenizer.json");
    if (tokenizer) {
      (void)tokenizer->encode("hello world 123 <|end_of_text|>", true);
    } else {
      ASSERT_EQ(tokenizer.error().line().find('\n'), std::string::npos);
    }
  }
}

TEST(BadFiles, Open) {
  const tern::test::TemporaryFolder folder;
  const auto missing = Tokenizer::open(folder.path() / "none.json");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, ErrorCode::kIo);
  ASSERT_TRUE(write_file(folder.path() / "empty.json", ""));
  EXPECT_THAT(Tokenizer::open(folder.path() / "empty.json").error().line(), HasSubstr("empty.json"));
  ASSERT_TRUE(write_file(folder.path() / "cut.gguf", "GGUF"));
  EXPECT_THAT(Tokenizer::open(folder.path() / "cut.gguf").error().line(), HasSubstr("cut.gguf"));
  ASSERT_TRUE(write_file(folder.path() / "good.gguf", gguf::encode_header(small_gguf())));
  EXPECT_EQ(Tokenizer::open(folder.path() / "good.gguf").value().kind(), "gguf");
  ASSERT_TRUE(write_file(folder.path() / "good.json", small_json().dump()));
  EXPECT_EQ(Tokenizer::open(folder.path() / "good.json").value().kind(), "hf-json");
}

std::string gguf_error(const std::function<void(gguf::Header&)>& damage) {
  gguf::Header header = small_gguf();
  damage(header);
  const auto tokenizer = load(header);
  if (tokenizer) {
    return "";
  }
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kInvalidInput);
  EXPECT_THAT(tokenizer.error().line(), StartsWith("model.gguf"));
  return tokenizer.error().line();
}

TEST(BadGgufVocabulary, MissingAndMistyped) {
  for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    EXPECT_THAT(gguf_error([&](auto& header) { erase(header, key); }), HasSubstr(key));
    EXPECT_THAT(gguf_error([&](auto& header) { set(header, key, uint32_t{1}); }), HasSubstr(key));
  }
  for (const char* key : {"tokenizer.ggml.pre", "tokenizer.ggml.token_type", "tokenizer.ggml.add_bos_token"}) {
    EXPECT_THAT(gguf_error([&](auto& header) { set(header, key, 1.5F); }), HasSubstr(key));
  }
}

TEST(BadGgufVocabulary, Values) {
  EXPECT_THAT(gguf_error([](auto& h) { set(h, "tokenizer.ggml.model", std::string("bert")); }),
              HasSubstr("'bert' is not supported (supported: gpt2, llama)"));
  EXPECT_THAT(gguf_error([](auto& h) { set(h, "tokenizer.ggml.pre", std::string("x\n")); }),
              AllOf(HasSubstr("'x\\x0a' is not supported (supported: llama3, "), HasSubstr(", tekken, default)")));
  EXPECT_THAT(gguf_error([](auto& h) { set(h, "tokenizer.ggml.tokens", std::vector<std::string>{}); }),
              HasSubstr("tokenizer.ggml.to"));
  EXPECT_THAT(gguf_error([](auto& h) {
                set(h, "tokenizer.ggml.token_type", std::vector<int32_t>{1, 2});
              }),
              HasSubstr("2 entries for 265 tokens"));
  EXPECT_THAT(gguf_error([](auto& h) { set(h, "tokenizer.ggml.bos_token_id", uint32_t{265}); }),
              HasSubstr("bos_token_id"));
  EXPECT_THAT(gguf_error([](auto& h) { set(h, "tokenizer.ggml.eos_token_id", int32_t{-1}); }),
              HasSubstr("eos_token_id"));
  EXPECT_THAT(gguf_error([](auto& h) {
                set(h, "tokenizer.ggml.merges", std::vector<std::string>{"h e", "x"});
              }),
              HasSubstr("merges[1]"));
  EXPECT_THAT(gguf_error([](auto& h) { set(h, "tokenizer.ggml.merges", std::vector<std::string>{""}); }),
              HasSubstr("merges[0]"));
  EXPECT_THAT(gguf_error([](auto& h) { set(h, "tokenizer.ggml.merges", std::vector<std::string>{"o x"}); }),
              HasSubstr("makes a token that the vocabulary does not have"));
  EXPECT_THAT(gguf_error([](auto& h) {
                auto tokens = small_vocabulary();
                tokens.insert(tokens.end(), {"hello", "x"});
                set(h, "tokenizer.ggml.tokens", tokens);
              }),
              AllOf(HasSubstr("tokens[263]"), HasSubstr("is given twice")));
  EXPECT_THAT(gguf_error([](auto& h) {
                auto tokens = small_vocabulary();
                tokens.insert(tokens.end(), {std::string(70'000, 'x'), "y"});
                set(h, "tokenizer.ggml.tokens", tokens);
              }),
              HasSubstr("70000 bytes"));
}

TEST(BadGgufVocabulary, Scores) {
  const auto as_sentencepiece = [](std::vector<float> scores) {
    return gguf_error([&](auto& h) {
      set(h, "tokenizer.ggml.model", std::string("llama"));
      set(h, "tokenizer.ggml.scores", std::move(scores));
    });
  };
  EXPECT_THAT(as_sentencepiece({1.0F}), HasSubstr("array of 265 floats"));
  std::vector<float> scores(265, 0.0F);
  scores[7] = NAN;
  EXPECT_THAT(as_sentencepiece(scores), HasSubstr("scores[7]: is NaN"));
}

}  // namespace
}  // namespace tern::tokenizer::test
