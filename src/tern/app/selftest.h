// Proof that the judge can fail an engine. Engines that really have a fault run through the whole pipeline: child
// process, files, comparison, oracle. The judge must find where they first go wrong, and why.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/peer/peer.h"

namespace tern::app {

// A row of the table. A fault that changes nothing on this model has a result of its own and is never passed over.
struct SelftestRow {
  std::string fault, does;
  std::string injected = {};  // where the faulty engine first differs from the right one at all
  std::string expected = {};  // the cause's id, or a verdict
  std::string found_at = {}, found = {};
  std::string evidence = {};
  enum class Result {
    kRight,
    kLate,    // named, but first seen behind the place: there, rounding could have done as much
    kHidden,  // not seen, since rounding could have done as much everywhere
    kWrong,
    kNotOnThisModel,
  } result = Result::kWrong;
};
// "right", "named, seen late", "hidden by rounding", "WRONG", "not on this model"
std::string_view result_name(SelftestRow::Result result);

struct SelftestPlan : peer::RunSetting {
  explicit SelftestPlan(const peer::RunSetting& setting) : RunSetting(setting) {}
  std::string prompt;            // at least two token ids long
  std::filesystem::path folder;  // exists and is empty; the caller removes it
  int n_at_a_time = 1;           // rows that are worked on at the same time
};

// All rows, in the order of the tables of faults. `tell` gets each row as soon as it is there, one at a time. Errors:
// kEngine where an engine cannot run, or when interrupted; kUsage for a prompt that is too short; kIo.
Result<std::vector<SelftestRow>> selftest(const SelftestPlan& plan,
                                          const std::function<void(const SelftestRow&)>& tell);

size_t n_rows_with(const std::vector<SelftestRow>& rows, SelftestRow::Result result);

// A Markdown table, and a line that counts the results.
std::string selftest_text(const std::vector<SelftestRow>& rows);
Json to_json(const std::vector<SelftestRow>& rows);

}  // namespace tern::app
