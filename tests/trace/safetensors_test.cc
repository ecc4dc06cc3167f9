#include "tern/trace/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

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
  const auto floats = Safetensors::open(path);
  ASSERT_TRUE(floats) << floats.error().line();
  EXPECT_EQ(floats->find_integers("i"), nullptr);
  EXPECT_EQ(floats->find("f")->values[0], 0.5F) << "integers beside it are legal";
  const auto file = Safetensors::open(path, Safetensors::Integers::kTaken);
  ASSERT_TRUE(file) << file.error().line();
  EXPECT_EQ(file->find("i"), nullptr) << "integers are no floats";
  EXPECT_EQ(file->find_integers("f"), nullptr);
  ASSERT_NE(file->find_integers("i"), nullptr);
  EXPECT_EQ(file->find_integers("i")->values[0], -7);
  EXPECT_EQ(file->find("f")->values[0], 0.5F);
  EXPECT_EQ(file->metadata().at("key"), "value");
  ASSERT_TRUE(write_file(path, file_with_header(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8)));
  const auto wider = Safetensors::open(path, Safetensors::Integers::kTaken);
  ASSERT_TRUE(wider) << wider.error().line();
  EXPECT_EQ(wider->find_integers("a"), nullptr);
}

std::string with_data(const std::string& header, const std::string& data) { return file_with_header(header, 0) + data; }

// The header may have any length, so that data need not be aligned.
TEST(Safetensors, UnalignedDataIsRead) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  const float values[2] = {1.5F, -2.25F};
  for (size_t padding = 0; padding < 8; ++padding) {
    const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})" + std::string(padding, ' ');
    ASSERT_TRUE(write_file(path, with_data(header, {reinterpret_cast<const char*>(values), 8})));
    auto opened = Safetensors::open(path);
    ASSERT_TRUE(opened) << opened.error().line();
    const Safetensors moved = std::move(*opened);
    ASSERT_EQ(moved.find("a")->values.size(), 2U);
    EXPECT_EQ(moved.find("a")->values[0], 1.5F);
    EXPECT_EQ(moved.find("a")->values[1], -2.25F);
  }
}

TEST(Safetensors, OtherFloatTypesAreWidened) {
  struct Case {
    const char* dtype;
    std::string bytes;  // little-endian
    float value;
  };
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  using std::string_literals::operator""s;
  for (const Case& c : {
           Case{"BF16", "\xC0\x3F"s, 1.5F},
           Case{"BF16", "\x80\xFF"s, -std::numeric_limits<float>::infinity()},
           Case{"BF16", "\x01\x00"s, 0x1p-133F},
           Case{"F16", "\x00\xC1"s, -2.5F},
           Case{"F16", "\xFF\x7B"s, 65504.0F},
           Case{"F16", "\x01\x00"s, 0x1p-24F},
           Case{"F16", "\x00\x7C"s, std::numeric_limits<float>::infinity()},
           Case{"F64", "\x00\x00\x00\x00\x00\x00\xF8\x3F"s, 1.5F},
           Case{"F8_E5M2", "\x3E"s, 1.5F},
           Case{"F8_E4M3", "\x7E"s, 448.0F},
           Case{"F8_E4M3", "\x01"s, 0x1p-9F},
       }) {
    const std::string end = std::to_string(c.bytes.size());
    const std::string header =
        R"({"a":{"dtype":")" + std::string(c.dtype) + R"(","shape":[1],"data_offsets":[0,)" + end + "]}}";
    ASSERT_TRUE(write_file(path, with_data(header, c.bytes)));
    const auto file = Safetensors::open(path);
    ASSERT_TRUE(file) << file.error().line();
    ASSERT_NE(file->find("a"), nullptr) << c.dtype;
    EXPECT_EQ(file->find("a")->values[0], c.value) << c.dtype;
    EXPECT_EQ(file->find("a")->dtype, c.dtype);
  }
  ASSERT_TRUE(write_file(path, with_data(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "\x7F")));
  EXPECT_TRUE(std::isnan(Safetensors::open(path)->find("a")->values[0])) << "it has NaN, and no infinity";
}

TEST(Safetensors, WhatTheFormatForbidsIsNamed) {
  struct Bad {
    std::string content;
    const char* cause;
  };
  const std::string a = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  const auto b_at = [](int begin) {
    return R"("b":{"dtype":"F32","shape":[1],"data_offsets":[)" + std::to_string(begin) + "," +
           std::to_string(begin + 4) + "]}";
  };
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  for (const Bad& bad : {
           Bad{file_with_header("{" + a + "," + a + "}", 4), "the key \"a\" stands twice"},
           Bad{file_with_header("{" + a + "," + b_at(8) + "}", 12), "a hole"},
           Bad{file_with_header("{" + b_at(4) + "}", 8), "tensor b: begins at data byte 4, where 0 is the next"},
           Bad{file_with_header("{" + a + "," + b_at(2) + "}", 6), "overlaps"},
           Bad{file_with_header("{" + a + "}", 5), "has 1 bytes behind its last tensor"},
           Bad{file_with_header(" {" + a + "}", 4), "does not begin with '{'"},
           Bad{file_with_header(R"({"__metadata__":{"x":1}})", 0), "key \"x\" is not a string"},
           Bad{file_with_header(R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4), "dtype F31"},
           Bad{file_with_header(R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4),
               "\"dtype\" is not a string"},
           Bad{file_with_header(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4), "no key \"dtype\""},
           Bad{file_with_header(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4), "dimension"},
           Bad{file_with_header(R"({"a":{"dtype":"F32","shape":{"x":1},"data_offsets":[0,4]}})", 4), "has no shape"},
           Bad{file_with_header(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4),
               "at most 8 dimensions"},
           Bad{file_with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4), "no data_offsets"},
           Bad{file_with_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4), "no data_offsets"},
           Bad{file_with_header(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
               "the key \"dtype\" stands twice"},
           Bad{file_with_header(R"({"__metadata__":[],"a":1})", 0), "__metadata__: is not a JSON object"},
           Bad{file_with_header(R"({"__metadata__":{},"__metadata__":{}})", 0),
               "the key \"__metadata__\" stands twice"},
           Bad{file_with_header(R"({"__metadata__":{"x":"1","x":"2"}})", 0), "the key \"x\" stands twice"},
           Bad{file_with_header(R"({"__metadata__":{"x":{}}})", 0), "key \"x\" is not a string"},
           Bad{file_with_header("{" + a + "]", 4), "header @ byte "},
           Bad{file_with_header("{\"a\":{\"more\":" + std::string(70, '[') + std::string(70, ']') + "}}", 0),
               "nested deeper than 64"},
       }) {
    ASSERT_TRUE(write_file(path, bad.content));
    const auto file = Safetensors::open(path);
    ASSERT_FALSE(file) << bad.cause;
    EXPECT_NE(file.error().line().find(bad.cause), std::string::npos) << file.error().line();
  }
  ASSERT_TRUE(write_file(path, file_with_header("{" + b_at(4) + "," + a + R"(,"__metadata__":{"x":"y"}})", 8)));
  EXPECT_TRUE(Safetensors::open(path)) << "in any order";
}

TEST(Safetensors, KeysThatTheFormatDoesNotHaveArePassedOver) {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "x.safetensors";
  ASSERT_TRUE(
      write_file(path, file_with_header(R"({"a":{"more":{"shape":[7,{"x":null}],"y":[1.5,true,"z"]},"dtype":"F32",)"
                                        R"("shape":[1],"data_offsets":[0,4],"last":-1}})",
                                        4)));
  const auto file = Safetensors::open(path);
  ASSERT_TRUE(file) << file.error().line();
  EXPECT_EQ(file->find("a")->shape, std::vector<int64_t>{1});
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
      file_with_header(R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4),
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
