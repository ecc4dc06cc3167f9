// What a sweep writes down while it runs, so that --resume can go on where it was killed: a file of lines, one JSON
// object each, that is only ever appended to.
//   the first    {"journal": 1, "sweep": {...}}: what was asked for; only the very same sweep may go on with it
//   each other   one engine run that has ended (kept_runs.h keeps its files)
// A last line without its newline was being written when the sweep was killed, and does not count.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/peer/peer.h"

namespace tern::sweep {

struct KeptRun {
  std::string name;      // "scenario1/rs-run"
  Json request;          // what the engine was asked for
  std::string folder;    // absolute: where its folders were made, as its texts name it
  peer::PeerRun run;     // without `run.run`, which is read from the files again unless there is a failure
  uint64_t n_bytes = 0;  // of all its files
};

struct Journal {
  Json sweep;  // null: killed before there was a first line
  std::vector<KeptRun> runs;
  size_t n_bytes = 0;  // of its whole lines
};

// With the newline.
std::string journal_head(const Json& sweep);
std::string journal_line(const KeptRun& kept);

// Errors: kInvalidInput, naming `file_name` and the line: one that is whole, but not what it has to be.
Result<Journal> parse_journal(std::string_view text, const std::string& file_name);

// The first item in which two sweeps, or two requests, are not the same.
struct Difference {
  std::string item;          // "reference: spec"
  std::string earlier, now;  // as JSON, cut to a line's length
};
std::optional<Difference> find_difference(const Json& earlier, const Json& now, const std::string& item = "");

}  // namespace tern::sweep
