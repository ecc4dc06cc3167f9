#include "tern/app/tokenize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "support/paths.h"

namespace tern::app {
namespace {

using testing::HasSubstr;

TokenizeOptions with_bundled_tokenizer() {
  TokenizeOptions options;
  options.tokenizer = (test::bundled_model_dir() / "tokenizer.json").string();
  return options;
}

// What it prints; the error's line where there is one.
std::string printed(const TokenizeOptions& options, const std::string& input) {
  std::istringstream in(input);
  std::ostringstream out;
  const Status status = tokenize(options, in, out);
  return out.str() + (status ? "" : "error: " + status.error().line());
}

TEST(Tokenize, EncodesTheWholeInputOrItsLines) {
  TokenizeOptions options = with_bundled_tokenizer();
  const std::string whole = printed(options, "Once upon");
  EXPECT_THAT(whole, testing::MatchesRegex("\\[[0-9]+(,[0-9]+)+\\]\n"));
  options.jsonl = true;
  EXPECT_EQ(printed(options, "\"Once upon\"\n\"Once upon\"\n"), whole + whole);
  EXPECT_EQ(printed(options, ""), "");
}

TEST(Tokenize, DecodesWhatItHasEncoded) {
  TokenizeOptions options = with_bundled_tokenizer();
  options.no_special = true;
  const std::string ids = printed(options, "Once upon");
  options.decode = true;
  EXPECT_EQ(printed(options, ids), "Once upon");
  options.jsonl = true;
  EXPECT_EQ(printed(options, ids), "\"Once upon\"\n");
}

TEST(Tokenize, AnErrorNamesTheLineAndLeavesWhatCameBefore) {
  TokenizeOptions options = with_bundled_tokenizer();
  options.jsonl = true;
  const std::string first = printed(options, "\"a\"\n");
  EXPECT_EQ(printed(options, "\"a\"\n7\n"), first + "error: stdin line 2: is not a JSON string");
  EXPECT_THAT(printed(options, "\"a\"\n\"\n"), HasSubstr("error: stdin line 2"));
  options.decode = true;
  EXPECT_EQ(printed(options, "7\n"), "error: stdin line 1: is not a JSON array of token ids");
  EXPECT_EQ(printed(options, "[1,-1]\n"), "error: stdin line 1: number 1 is not a token id");
  EXPECT_THAT(printed(options, "[2147483647]\n"), HasSubstr("error: stdin line 1: "));
}

TEST(Tokenize, OutputThatCannotBeWrittenIsAnError) {
  std::istringstream in("Once upon");
  std::ostringstream out;
  out.setstate(std::ios::failbit);
  const Status status = tokenize(with_bundled_tokenizer(), in, out);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace tern::app
