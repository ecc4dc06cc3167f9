#include "tern/base/json_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tern {
namespace {

using testing::HasSubstr;

TEST(JsonFormat, StandsFirstInWhatIsWritten) {
  EXPECT_EQ(to_json_line(with_format(Document::kPack, {{"b", 1}, {"a", 2}})), R"({"format":2,"b":1,"a":2})");
}

TEST(JsonFormat, AReaderTakesItsOwnAndEveryLowerOne) {
  for (const Document document : {Document::kRunResult, Document::kTraceRecord, Document::kPack, Document::kJournal,
                                  Document::kSweep, Document::kReceipt, Document::kCommand}) {
    EXPECT_EQ(read_format(document, Json::object(), "f").value_or(0), 1) << "absent";
    for (int number = 1; number <= format_of(document); ++number) {
      EXPECT_EQ(read_format(document, {{"format", number}}, "f").value_or(0), number);
    }
    const auto higher = read_format(document, {{"format", format_of(document) + 1}}, "f.json");
    ASSERT_FALSE(higher);
    EXPECT_EQ(higher.error().code, ErrorCode::kInvalidInput);
    EXPECT_THAT(higher.error().line(),
                HasSubstr("f.json: has format " + std::to_string(format_of(document) + 1) +
                          ", and this tern reads formats up to " + std::to_string(format_of(document))));
  }
}

TEST(JsonFormat, AnythingButACountIsRefused) {
  for (const Json& format : {Json(0), Json(-1), Json("1"), Json(1.5), Json(nullptr), Json(1e30), Json::array()}) {
    EXPECT_FALSE(read_format(Document::kRunResult, {{"format", format}}, "f")) << format;
  }
  EXPECT_FALSE(read_format(Document::kRunResult, Json::array(), "f"));
}

}  // namespace
}  // namespace tern
