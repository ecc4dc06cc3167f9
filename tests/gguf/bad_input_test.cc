// What a GGUF reader must refuse: each case gets one line that names the file, the place and the cause.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "gguf/raw_file.h"
#include "support/paths.h"
#include "tern/base/file.h"

namespace tern::gguf::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kString = 8;
constexpr uint32_t kArray = 9;
constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();

// Every kind of metadata value and of tensor; no padding at the end, so that no byte is superfluous.
std::string complete_file() {
  Header header;
  header.add("general.architecture", std::string("llama"));
  header.add("a.flag", true);
  header.add("a.number", uint32_t{7});
  header.add("a.names", std::vector<std::string>{"one", "", "three"});
  header.add("a.floats", std::vector<float>{1, 2});
  header.add("a.flags", std::vector<bool>{true, false});
  header.add_tensor("norm", {16}, quant::kF32);
  header.add_tensor("embd", {16, 2}, quant::kF16);
  // Two, since a single one without its 32-byte tail would be a valid qk256 matrix.
  header.add_tensor("proj", {256, 4}, quant::kI2sBitnetCpp);
  header.add_tensor("last", {256, 4}, quant::kI2sBitnetCpp);
  std::string bytes = encode_header(header);
  for (const TensorPlan& tensor : header.tensors) {
    bytes.append(tensor.n_bytes, '\1');
    EXPECT_EQ(padding_after(tensor.n_bytes, 32), 0u);
  }
  return bytes;
}

// Reads all that a view hands out, so that a wrong span shows under AddressSanitizer.
uint64_t touch(const View& view) {
  uint64_t sum = view.metadata().size();
  for (const Tensor& tensor : view.tensors()) {
    for (const std::byte byte : tensor.data) {
      sum += std::to_integer<uint64_t>(byte);
    }
  }
  return sum;
}

TEST(BadInput, TruncatedAnywhere) {
  const std::string bytes = complete_file();
  ASSERT_EQ(error_of(bytes), "");
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto view = parse(bytes.substr(0, size));
    ASSERT_FALSE(view.has_value()) << "the first " << size << " of " << bytes.size() << " bytes were accepted";
    ASSERT_EQ(view.error().code, ErrorCode::kInvalidInput);
    ASSERT_THAT(view.error().line(), testing::StartsWith("x.gguf @ 0x"));
  }
}

TEST(BadInput, DamagedAtRandom) {
  const std::string original = complete_file();
  std::mt19937_64 random(42);
  size_t n_accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = original;
    for (uint64_t change = 0; change <= random() % 3; ++change) {
      const size_t at = random() % (bytes.size() - 8);
      const uint64_t value =
          std::array<uint64_t, 6>{0, 1, kHuge, uint64_t{1} << 63, bytes.size(), random()}[random() % 6];
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
          break;
        case 1:
          bytes.replace(at, 8, reinterpret_cast<const char*>(&value), 8);
          break;
        case 2:
          bytes.erase(at, 1 + random() % 7);
          break;
        default:
          bytes.insert(at, 1 + random() % 7, static_cast<char>(value));
      }
    }
    if (const auto view = parse(bytes)) {
      ++n_accepted;  // e.g. a change in the weights
      touch(*view);
    }
  }
  EXPECT_GT(n_accepted, 0u);
  EXPECT_LT(n_accepted, 20000u);
}

TEST(BadInput, NotAGguf) {
  EXPECT_THAT(error_of(""), HasSubstr("the file is empty"));
  EXPECT_THAT(error_of("{\"version\": 1}"), AllOf(HasSubstr("not a GGUF file"), HasSubstr("7b 22 76 65")));
  EXPECT_THAT(error_of("GGU"), HasSubstr("not a GGUF file"));
}

TEST(BadInput, Versions) {
  EXPECT_EQ(error_of(RawFile().head(0, 0, 2)), "");
  EXPECT_EQ(error_of(RawFile().head(0, 0, 3)), "");
  EXPECT_THAT(error_of(RawFile().head(0, 0, 1)), HasSubstr("version 1 is not supported"));
  EXPECT_THAT(error_of(RawFile().head(0, 0, 4)), HasSubstr("version 4 is unknown"));
  EXPECT_THAT(error_of(RawFile().head(0, 0, 0)), HasSubstr("version 0 is unknown"));
  EXPECT_THAT(error_of(RawFile().head(0, 0, 0x03000000)), HasSubstr("big-endian"));
}

TEST(BadInput, Counts) {
  for (const uint64_t count : {uint64_t{1}, uint64_t{1} << 32, uint64_t{1} << 63, kHuge}) {
    EXPECT_THAT(error_of(RawFile().head(count, 0)), HasSubstr("tensors announced, impossible")) << count;
    EXPECT_THAT(error_of(RawFile().head(0, count)), HasSubstr("metadata keys announced, impossible")) << count;
  }
  EXPECT_THAT(error_of(RawFile().head(70000, 0).data(70000 * 40)), HasSubstr("more than the 65536 allowed"));
}

TEST(BadInput, Keys) {
  EXPECT_THAT(error_of(RawFile().head(0, 1).text("").put(uint32_t{4}).put(uint32_t{1}).data(8)),
              HasSubstr("the key is empty"));
  EXPECT_THAT(error_of(RawFile().head(0, 1).text("a\xff").put(uint32_t{4}).put(uint32_t{1})),
              AllOf(HasSubstr("metadata entry 0"), HasSubstr("not valid UTF-8")));
  EXPECT_THAT(error_of(RawFile().head(0, 1).put(kHuge).data(64)), HasSubstr("has 18446744073709551615 bytes, but"));
  EXPECT_THAT(error_of(RawFile().head(0, 1).text(std::string(65536, 'k')).put(uint32_t{4}).put(uint32_t{1})),
              HasSubstr("more than the 65535 allowed"));
  RawFile twice;
  twice.head(0, 2);
  for (int i = 0; i < 2; ++i) {
    twice.text("a.key").put(uint32_t{4}).put(uint32_t{1});
  }
  EXPECT_THAT(error_of(twice), AllOf(HasSubstr("key a.key"), HasSubstr("occurs twice")));
}

TEST(BadInput, KeysAreShownOnOneLine) {
  const std::string error = error_of(RawFile().head(0, 1).text("a\n\x1b[31mkey").put(uint32_t{77}));
  EXPECT_THAT(error, AllOf(HasSubstr("\\x0a\\x1b[31mkey"), Not(HasSubstr("\n")), Not(HasSubstr("\x1b"))));
}

TEST(BadInput, Values) {
  const auto with_value = [] { return RawFile().head(0, 1).text("a.key"); };
  EXPECT_THAT(error_of(with_value().put(uint32_t{13}).data(64)), HasSubstr("value type 13 is unknown"));
  EXPECT_THAT(error_of(with_value().put(uint32_t{7}).put(uint8_t{2})), HasSubstr("a bool holds 2"));
  EXPECT_THAT(error_of(with_value().put(kString).put(uint64_t{100}).data(99)), HasSubstr("has 100 bytes, but"));
  EXPECT_THAT(error_of(with_value().put(kArray).put(uint32_t{13}).put(uint64_t{1}).data(64)),
              HasSubstr("array element type 13 is unknown"));
  EXPECT_THAT(error_of(with_value().put(kArray).put(kArray).put(uint64_t{1}).data(64)), HasSubstr("arrays of arrays"));
  for (const uint64_t count : {uint64_t{17}, uint64_t{1} << 61, uint64_t{1} << 62, kHuge}) {
    EXPECT_THAT(error_of(with_value().put(kArray).put(uint32_t{4}).put(count).data(64)), HasSubstr("cannot fit into"));
  }
  EXPECT_THAT(error_of(with_value().put(kArray).put(uint32_t{7}).put(uint64_t{2}).put(uint8_t{1}).put(uint8_t{3})),
              HasSubstr("a bool holds 3"));
  EXPECT_THAT(error_of(with_value().put(kArray).put(kString).put(uint64_t{2}).text("ok").put(uint64_t{9})),
              HasSubstr("element 1 of 2"));
  EXPECT_THAT(error_of(with_value().put(kArray).put(uint32_t{0}).put(uint64_t{17} << 20).data(uint64_t{17} << 20)),
              HasSubstr("more than 16777216 elements"));
}

TEST(BadInput, Alignment) {
  const auto aligned_to = [](auto value, uint32_t type) {
    return error_of(RawFile().head(0, 1).text("general.alignment").put(type).put(value));
  };
  EXPECT_EQ(aligned_to(uint32_t{64}, 4), "");
  EXPECT_THAT(aligned_to(uint32_t{0}, 4), AllOf(HasSubstr("general.alignment"), HasSubstr("must be 8 to 65536")));
  EXPECT_THAT(aligned_to(uint32_t{48}, 4), HasSubstr("not a power of two"));
  EXPECT_THAT(aligned_to(uint64_t{1} << 63, 10), HasSubstr("must be 8 to 65536"));
  EXPECT_THAT(aligned_to(int32_t{-32}, 5), HasSubstr("is -32"));
  EXPECT_THAT(aligned_to(32.0F, 6), HasSubstr("must be an integer, is f32"));
}

TEST(BadInput, TensorNamesAndDimensions) {
  const auto one = [](std::string_view name, const std::vector<uint64_t>& dims) {
    return error_of(RawFile().head(1, 0).tensor(name, dims, kF32, 0).pad().data(64));
  };
  EXPECT_EQ(one("t", {16}), "");
  EXPECT_THAT(one("", {16}), HasSubstr("name is empty"));
  EXPECT_THAT(one("\xc3(", {16}), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(one(std::string(65, 'n'), {16}), HasSubstr("more than the 64 allowed"));
  EXPECT_THAT(one("t", {}), HasSubstr("0 dimensions"));
  EXPECT_THAT(one("t", {1, 1, 1, 1, 16}), HasSubstr("5 dimensions"));
  EXPECT_THAT(one("t", {16, 0}), HasSubstr("dimension 1 is 0"));
  EXPECT_THAT(one("t", {uint64_t{1} << 32, uint64_t{1} << 32}), HasSubstr("overflows"));
  EXPECT_THAT(one("t", {uint64_t{1} << 63}), HasSubstr("overflows"));
  EXPECT_THAT(one("t", {uint64_t{1} << 62}), HasSubstr("needs more than 2^64 bytes as F32"));
  EXPECT_THAT(one("t", {17}), AllOf(HasSubstr("tensor t"), HasSubstr("needs 68 bytes as F32, but only 64")));
}

TEST(BadInput, TensorPlaces) {
  const auto two = [](uint64_t first, uint64_t second, uint32_t first_type = kF32) {
    return error_of(
        RawFile().head(2, 0).tensor("a", {16}, first_type, first).tensor("b", {16}, kF32, second).pad().data(128));
  };
  EXPECT_EQ(two(0, 64), "");
  EXPECT_EQ(two(64, 0), "");  // the order of data may differ from that of names
  EXPECT_THAT(two(0, 63), HasSubstr("not a multiple of the alignment"));
  EXPECT_THAT(two(0, 96), HasSubstr("needs 64 bytes as F32, but only 32 lie before the end of the file"));
  EXPECT_THAT(two(0, 128), HasSubstr("past the end of the file"));
  EXPECT_THAT(two(0, kHuge - 31), HasSubstr("past the end of the file"));
  EXPECT_THAT(two(0, 32), AllOf(HasSubstr("tensor a"), HasSubstr("which it overlaps")));
  EXPECT_THAT(two(32, 32), HasSubstr("overlaps tensor a"));
  EXPECT_THAT(two(64, 64, 12), HasSubstr("overlaps tensor a"));
  EXPECT_THAT(error_of(RawFile().head(2, 0).tensor("a", {8}, kF32, 0).tensor("a", {8}, kF32, 32).pad().data(64)),
              AllOf(HasSubstr("tensor a"), HasSubstr("occurs twice")));
}

TEST(BadInput, UnknownEncodingsAreListedWithoutData) {
  const std::string bytes =
      RawFile().head(2, 0).tensor("a", {256}, 12, 0).tensor("b", {16}, 4711, 160).pad().data(224).bytes();
  const auto view = parse(bytes);
  ASSERT_TRUE(view.has_value()) << view.error().line();
  EXPECT_EQ(view->tensors()[0].format, nullptr);
  EXPECT_TRUE(view->tensors()[0].data.empty());
  EXPECT_EQ(quant::type_name(view->tensors()[1].type_id), "type 4711");
}

TEST(BadInput, WrongFiles) {
  const tern::test::TemporaryFolder folder;
  const auto missing = View::open(folder.path() / "missing.gguf");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, ErrorCode::kIo);
  EXPECT_THAT(missing.error().line(), HasSubstr("missing.gguf"));
  EXPECT_FALSE(View::open(folder.path()).has_value());
  ASSERT_TRUE(write_file(folder.path() / "empty.gguf", "").has_value());
  EXPECT_THAT(View::open(folder.path() / "empty.gguf").error().line(), HasSubstr("the file is empty"));
}

}  // namespace
}  // namespace tern::gguf::test
