#include "tern/base/json_format.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/base/check.h"

namespace tern {
namespace {

struct FormatRow {
  Document document;
  int number;
};
constexpr FormatRow kFormats[] = {
    {Document::kRunResult, 1},    //
    {Document::kTraceRecord, 1},  //
    {Document::kPack, 2},         // 1: `format` is the text "tern-pack", beside `version` 1
    {Document::kJournal, 2},      // 1: the key `journal` in the place of `format`
    {Document::kSweep, 1},        //
    {Document::kReceipt, 1},      //
    {Document::kCommand, 1},      //
    {Document::kManifest, 1},
};

constexpr const char* kKey = "format";

}  // namespace

int format_of(Document document) {
  const auto* row = std::ranges::find(kFormats, document, &FormatRow::document);
  TERN_CHECK(row != std::end(kFormats));
  return row->number;
}

Json with_format(Document document, Json object) {
  TERN_CHECK(object.is_object() && !object.contains(kKey));
  Json out = {{kKey, format_of(document)}};
  for (auto& [key, value] : object.items()) {
    out[key] = std::move(value);
  }
  return out;
}

Result<int> read_format(Document document, const Json& object, const std::string& where) {
  if (object.is_object() && !object.contains(kKey)) {
    return 1;
  }
  TERN_ASSIGN_OR_RETURN(const int64_t number, json_integer(object, kKey, where, 1, INT32_MAX));
  const int newest = format_of(document);
  if (number > newest) {
    return invalid_input(where, fmt::format("has format {}, and this tern reads formats up to {}", number, newest),
                         "read it with the tern that wrote it, or a newer one");
  }
  return static_cast<int>(number);
}

}  // namespace tern
