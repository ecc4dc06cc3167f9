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
