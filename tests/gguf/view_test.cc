#include "tern/gguf/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "gguf/raw_file.h"
#include "support/paths.h"

namespace tern::gguf::test {
namespace {

using testing::HasSubstr;

std::string metadata_file() {
  Header header;
  header.add("count", uint32_t{30});
  header.add("negative", int32_t{-1});
  header.add("positive", int64_t{5});
  header.add("epsilon", 0.5F);
  header.add("nan", std::numeric_limits<float>::quiet_NaN());
  header.add("name", std::string("x"));
  header.add("flag", false);
  header.add("names", std::vector<std::string>{"a", "b"});
  return encode_header(header);
}

TEST(View, TypedLookUpsNameFileKeyAndWhatWasFound) {
  const std::string bytes = metadata_file();
  const auto parsed = parse(bytes);
  ASSERT_TRUE(parsed.has_value());
  const View& view = *parsed;
  EXPECT_EQ(view.get_uint("count", 1, 100), 30u);
  EXPECT_EQ(view.get_uint("positive", 5, 5), 5u);
  EXPECT_EQ(view.get_uint("count", 31, 100).error().line(), "x.gguf: key count: is 30, must be 31 to 100");
  EXPECT_EQ(view.get_uint("count", 0, 29).error().line(), "x.gguf: key count: is 30, must be 0 to 29");
  EXPECT_THAT(view.get_uint("negative", 0, 9).error().line(), HasSubstr("is -1, must be 0 to 9"));
  EXPECT_THAT(view.get_uint("epsilon", 0, 9).error().line(), HasSubstr("must be an integer, is f32"));
  EXPECT_EQ(view.get_uint("missing", 0, 9).error().line(), "x.gguf: key missing: is missing");
  EXPECT_EQ(view.get_float("epsilon"), 0.5);
  EXPECT_THAT(view.get_float("nan").error().line(), HasSubstr("must be finite"));
  EXPECT_THAT(view.get_float("count").error().line(), HasSubstr("must be a floating-point number, is u32"));
  EXPECT_EQ(view.get_bool("flag"), false);
  EXPECT_THAT(view.get_bool("count").error().line(), HasSubstr("must be a bool, is u32"));
  EXPECT_EQ(view.get_string("name"), "x");
  EXPECT_THAT(view.get_string("names").error().line(), HasSubstr("must be a string, is an array of string"));
  EXPECT_EQ(view.get_strings("names")->size(), 2u);
  EXPECT_THAT(view.get_strings("name").error().line(), HasSubstr("must be an array of strings, is string"));
  EXPECT_TRUE(view.has("name"));
  EXPECT_FALSE(view.has("nam"));
}

TEST(View, AMovedViewKeepsItsData) {
  auto opened = View::open(tern::test::golden_dir() / "models" / "tiny-i2_s.gguf");
  ASSERT_TRUE(opened.has_value()) << opened.error().line();
  const View moved = std::move(*opened);
  const View copied = moved;
  const Tensor* tensor = copied.find_tensor("blk.3.ffn_down.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->name, "blk.3.ffn_down.weight");
  EXPECT_EQ(tensor->n_cols(), 768u);
  EXPECT_EQ(tensor->n_rows(), 256u);
  EXPECT_EQ(tensor->data.size(), 768u * 256 / 4 + 32);
  EXPECT_EQ(copied.find_tensor("blk.4.ffn_down.weight"), nullptr);
}

TEST(View, RecordedModelsAreRead) {
  size_t n_models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(tern::test::golden_dir() / "models")) {
    if (entry.path().extension() != ".gguf") {
      continue;
    }
    ++n_models;
    const auto view = View::open(entry.path());
    ASSERT_TRUE(view.has_value()) << view.error().line();
    EXPECT_EQ(view->format_of_type(36), &quant::kI2sBitnetCpp) << entry.path();
    EXPECT_EQ(view->get_strings("tokenizer.ggml.tokens")->size(), 269u);
    for (const Tensor& tensor : view->tensors()) {
      EXPECT_FALSE(tensor.data.empty()) << tensor.name;
    }
  }
  EXPECT_GT(n_models, 0u);
}

}  // namespace
}  // namespace tern::gguf::test
