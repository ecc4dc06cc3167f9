#include "tern/base/hash.h"

#include <gtest/gtest.h>

namespace tern {
namespace {

// The authors of both algorithms publish the empty input's digest.
TEST(Hash, EmptyInput) {
  EXPECT_EQ(blake3_hex(std::span<const std::byte>{}),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace tern
