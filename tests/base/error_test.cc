#include "tern/base/error.h"

#include <gtest/gtest.h>

namespace tern {
namespace {

TEST(Error, OneLineWithPlaceCauseAndHint) {
  EXPECT_EQ((Error{ErrorCode::kInvalidInput, "m.gguf @ 0x10", "is cut short", "copy it again"}.line()),
            "m.gguf @ 0x10: is cut short (copy it again)");
  EXPECT_EQ((Error{ErrorCode::kUsage, "", "no model", ""}.line()), "no model");
}

// Names come from untrusted files: they must not break the line or drive a terminal.
TEST(Error, ControlCharactersAreEscaped) {
  const Error error{ErrorCode::kInvalidInput, "a\nb", "\x1b[31mred\r", ""};
  EXPECT_EQ(error.line(), "a\\x0ab: \\x1b[31mred\\x0d");
}

TEST(Error, LongNamesAreCut) {
  EXPECT_EQ(printable("abcdef", 3), "abc... (6 bytes)");
  EXPECT_LT((Error{ErrorCode::kInvalidInput, std::string(1 << 20, 'x'), "y", ""}.line().size()), 5000U);
}

TEST(Error, ExitCodesAreTheContracts) {
  EXPECT_EQ(exit_code(ErrorCode::kUsage), 2);
  EXPECT_EQ(exit_code(ErrorCode::kInvalidInput), 3);
  EXPECT_EQ(exit_code(ErrorCode::kIo), 3);
  EXPECT_EQ(exit_code(ErrorCode::kEngine), 4);
  EXPECT_EQ(exit_code(ErrorCode::kNoVerdict), 5);
}

}  // namespace
}  // namespace tern
