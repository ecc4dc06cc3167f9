// Format numbers: every JSON document that tern writes carries `format`, an integer, and a reader takes its own number
// and every lower one. The one table of the numbers is in json_format.cc.
#pragma once

#include <string>

#include "tern/base/error.h"
#include "tern/base/json.h"

namespace tern {

enum class Document {
  kRunResult,    // result.json
  kTraceRecord,  // a *.trace file, a line of trace.jsonl
  kPack,         // pack.json
  kJournal,      // the first line of a sweep's journal
  kSweep,        // sweep.json
  kReceipt,      // logits-comparison.json
  kCommand,      // what a command prints with --json, or writes as its report
  kManifest,     // manifest.json of an adapter, which people write
};

// The number that tern writes, and the highest that it reads.
int format_of(Document document);

// `object` with `format` as its first key.
Json with_format(Document document, Json object);

// The number in `object`, 1 where it has none. Errors: kInvalidInput where it is higher than format_of(document), with
// both numbers, or no integer from 1 on. `where` names the source, as in parse_json().
Result<int> read_format(Document document, const Json& object, const std::string& where);

}  // namespace tern
