#include "tern/gguf/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "gguf/raw_file.h"
#include "support/paths.h"

namespace tern::gguf::test {
namespace {

using testing::ElementsAre;

std::vector<std::byte> pattern(uint64_t n_bytes, unsigned seed) {
  std::vector<std::byte> bytes(n_bytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>((i * 31 + seed) & 0xff);
  }
  return bytes;
}

TEST(Writer, AllScalarTypesComeBack) {
  Header header;
  header.add("u8", uint8_t{255});
  header.add("i8", int8_t{-128});
  header.add("u16", uint16_t{65535});
  header.add("i16", int16_t{-32768});
  header.add("u32", uint32_t{4294967295u});
  header.add("i32", std::numeric_limits<int32_t>::min());
  header.add("f32", 0.1F);
  header.add("bool", true);
  header.add("string", std::string("gr\xc3\xbc\xc3\x9f dich\n"));
  header.add("u64", std::numeric_limits<uint64_t>::max());
  header.add("i64", std::numeric_limits<int64_t>::min());
  header.add("f64", 0.1);
  const std::string bytes = encode_header(header);
  const auto view = parse(bytes);
  ASSERT_TRUE(view.has_value()) << view.error().line();
  for (const Metadata& entry : view->metadata()) {
    EXPECT_EQ(entry.key, value_type_name(entry.type));
  }
  EXPECT_EQ(view->metadata().size(), 12u);
  EXPECT_EQ(view->get_uint("u8", 0, 255), 255u);
  EXPECT_EQ(std::get<int64_t>(view->find("i8")->value), -128);
  EXPECT_EQ(view->get_uint("u16", 0, 65535), 65535u);
  EXPECT_EQ(std::get<int64_t>(view->find("i16")->value), -32768);
  EXPECT_EQ(view->get_uint("u32", 0, 4294967295u), 4294967295u);
  EXPECT_EQ(std::get<int64_t>(view->find("i32")->value), std::numeric_limits<int32_t>::min());
  EXPECT_EQ(view->get_float("f32"), static_cast<double>(0.1F));
  EXPECT_EQ(view->get_bool("bool"), true);
  EXPECT_EQ(view->get_string("string"), "gr\xc3\xbc\xc3\x9f dich\n");
  EXPECT_EQ(std::get<uint64_t>(view->find("u64")->value), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(std::get<int64_t>(view->find("i64")->value), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(view->get_float("f64"), 0.1);
}

TEST(Writer, AllArrayTypesComeBack) {
  Header header;
  header.add("u8", std::vector<uint8_t>{1, 255});
  header.add("i8", std::vector<int8_t>{-1});
  header.add("u16", std::vector<uint16_t>{65535});
  header.add("i16", std::vector<int16_t>{-2});
  header.add("u32", std::vector<uint32_t>{});
  header.add("i32", std::vector<int32_t>{3, -3});
  header.add("f32", std::vector<float>{0.5F, -0.25F});
  header.add("bool", std::vector<bool>{true, false, true});
  header.add("string", std::vector<std::string>{"a", "", "bc"});
  header.add("u64", std::vector<uint64_t>{1});
  header.add("i64", std::vector<int64_t>{-1});
  header.add("f64", std::vector<double>{0.1});
  const std::string bytes = encode_header(header);
  const auto view = parse(bytes);
  ASSERT_TRUE(view.has_value()) << view.error().line();
  for (const Metadata& entry : view->metadata()) {
    EXPECT_EQ(entry.type, ValueType::kArray);
    EXPECT_EQ(entry.key, value_type_name(entry.element_type));
  }
  EXPECT_THAT(std::get<std::vector<uint64_t>>(view->find("u8")->value), ElementsAre(1, 255));
  EXPECT_THAT(std::get<std::vector<uint64_t>>(view->find("u32")->value), ElementsAre());
  EXPECT_THAT(std::get<std::vector<int64_t>>(view->find("i32")->value), ElementsAre(3, -3));
  EXPECT_THAT(std::get<std::vector<double>>(view->find("f32")->value), ElementsAre(0.5, -0.25));
  EXPECT_THAT(std::get<std::vector<bool>>(view->find("bool")->value), ElementsAre(true, false, true));
  EXPECT_THAT(*view->get_strings("string"), ElementsAre("a", "", "bc"));
}

TEST(Writer, TensorsStreamedInPortionsComeBack) {
  for (const uint32_t version : {2u, 3u}) {
    for (const uint32_t alignment : {32u, 64u}) {
      Header header;
      header.version = version;
      header.alignment = alignment;
      header.add("general.alignment", alignment);
      header.add_tensor("f32", {3, 5}, quant::kF32);
      header.add_tensor("f16", {7}, quant::kF16);
      header.add_tensor("i2s", {256, 2, 3}, quant::kI2sBitnetCpp);
      const tern::test::TemporaryFolder folder;
      const auto path = folder.path() / "a.gguf";
      const auto plans = header.tensors;
      auto writer = Writer::create(path, header);
      ASSERT_TRUE(writer.has_value());
      for (size_t i = 0; i < plans.size(); ++i) {
        const auto data = pattern(plans[i].n_bytes, static_cast<unsigned>(i));
        ASSERT_TRUE(writer->append(std::span(data).first(5)).has_value());
        ASSERT_TRUE(writer->append(std::span(data).subspan(5)).has_value());
        EXPECT_FALSE(std::filesystem::exists(path));
      }
      ASSERT_TRUE(writer->commit().has_value());
      const auto view = View::open(path);
      ASSERT_TRUE(view.has_value()) << view.error().line();
      EXPECT_EQ(view->version(), version);
      EXPECT_EQ(view->alignment(), alignment);
      EXPECT_EQ(view->file_size(), writer->bytes_total());
      EXPECT_EQ(view->format_of_type(36), &quant::kI2sBitnetCpp);
      for (size_t i = 0; i < plans.size(); ++i) {
        const Tensor& tensor = view->tensors()[i];
        const auto data = pattern(plans[i].n_bytes, static_cast<unsigned>(i));
        EXPECT_EQ(tensor.name, plans[i].name);
        EXPECT_EQ(tensor.dims, plans[i].dims);
        EXPECT_EQ(tensor.file_offset % alignment, 0u);
        EXPECT_TRUE(std::equal(tensor.data.begin(), tensor.data.end(), data.begin(), data.end())) << tensor.name;
      }
    }
  }
}

TEST(Writer, AnUnfinishedFileLeavesNothing) {
  const tern::test::TemporaryFolder folder;
  {
    Header header;
    header.add_tensor("t", {4}, quant::kF32);
    auto writer = Writer::create(folder.path() / "a.gguf", header);
    ASSERT_TRUE(writer.has_value());
    ASSERT_TRUE(writer->append(pattern(8, 0)).has_value());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace tern::gguf::test
