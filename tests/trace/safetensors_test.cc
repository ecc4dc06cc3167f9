#include "tern/trace/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support/paths.h"

namespace tern::trace {
namespace {

std::string file_with_header(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + header + std::string(data_bytes, '\0');
}

TEST(Safetensors, RowsWhoseNumberIsKnownOnlyAtTheEnd) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "logits.safetensors";
  auto writer = SafetensorsWriter::create(path, SafetensorsWriter::header_bytes(1));
  ASSERT_TRUE(writer && writer->begin_rows("logits", 2));
  for (const float value : {1.0F, 2.0F, 3.0F}) {
    ASSERT_TRUE(writer->append_rows(std::vector<float>{value, -value}));
  }
  ASSERT_TRUE(writer->end_rows() && writer->finish());
  const auto file = Safetensors::open(path);
  ASSERT_TRUE(file) << file.error().line();
  const auto* logits = file->find("logits");
  ASSERT_NE(logits, nullptr);
  EXPECT_EQ(logits->shape, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(logits->values[5], -3.0F);
}

TEST(Safetensors, ReadsTheRecordings) {
  for (const auto& golden : test::golden_cases()) {
    const auto file = Safetensors::open(golden.folder / "logits.safetensors");
    ASSERT_TRUE(file) << file.error().line();
    EXPECT_NE(file->find("logits"), nullptr);
  }
}

TEST(Safetensors, IntegersAreTakenOnlyWhereTheyAreExpected) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  auto writer = SafetensorsWriter::create(path, SafetensorsWriter::header_bytes(3));
  ASSERT_TRUE(writer);
  writer->add_metadata("key", "value");
  ASSERT_TRUE(writer->add_integers("i", {2}, std::vector<int32_t>{-7, 1 << 30}) &&
              writer->add("f", {1}, std::vector<float>{0.5F}) && writer->finish());
  const auto refused = Safetensors::open(path);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().line().find("has dtype I32, where F32 is needed"), std::string::npos);
  const auto file = Safetensors::open(path, Safetensors::Integers::kTaken);
  ASSERT_TRUE(file) << file.error().line();
  EXPECT_EQ(file->find("i"), nullptr) << "integers are no floats";
  EXPECT_EQ(file->find_integers("f"), nullptr);
  ASSERT_NE(file->find_integers("i"), nullptr);
  EXPECT_EQ(file->find_integers("i")->values[0], -7);
  EXPECT_EQ(file->find("f")->values[0], 0.5F);
  EXPECT_EQ(file->metadata().at("key"), "value");
  ASSERT_TRUE(write_file(path, file_with_header(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8)));
  EXPECT_FALSE(Safetensors::open(path, Safetensors::Integers::kTaken));
}

TEST(Safetensors, DamagedFilesAreErrors) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  const std::vector<std::string> contents = {
      "",
      "1234567",
      std::string(8, '\xff'),
      file_with_header("", 0),
      file_with_header("{", 0),
      file_with_header("[]", 0),
      file_with_header(R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2),
      file_with_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
      file_with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 3),
      file_with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 8),
      file_with_header(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4),
      file_with_header(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0),
      file_with_header(R"({"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})", 4),
      file_with_header(R"({"a":7})", 0),
  };
  for (const std::string& content : contents) {
    ASSERT_TRUE(write_file(path, content));
    const auto file = Safetensors::open(path);
    ASSERT_FALSE(file) << content;
    EXPECT_EQ(file.error().code, ErrorCode::kInvalidInput);
  }
}

}  // namespace
}  // namespace tern::trace
