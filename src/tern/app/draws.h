// A selftest with faults drawn at random (oracle/drawn_fault.h), so that nothing can be fitted to them. Each fault runs
// as an engine on a small model and is held against an engine that is right. The judge must find where the wrong side
// first goes wrong, and why. It must not blame either of two right engines.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/compare/sided.h"
#include "tern/oracle/drawn_fault.h"
#include "tern/peer/peer.h"

namespace tern::app {

// What a judge must reach, with values on both sides and where the subject has hashes and RMS only.
struct DrawThresholds {
  double placed, named;  // shares of the draws that are not hidden
};
inline constexpr DrawThresholds kWithValues = {0.95, 0.90};
inline constexpr DrawThresholds kWithHashes = {0.80, 0.60};
inline constexpr double kMaxHidden = 0.05;  // share of all draws

struct DrawnRow {
  size_t number = 0;  // from 0
  std::string kind, variant, does, model;
  std::string faulty, right;                      // the two engines
  compare::Side wrong = compare::Side::kSubject;  // where the faulty one stands
  bool with_values = true;                        // false: the subject has hashes and RMS only
  std::string expected_at;                        // the first tensor that the fault changes in a bit; or "tokens"
  std::vector<oracle::ExpectedCause> expected;    // any of which is right
  bool has_more = false;                          // faults, which the cause must leave unexplained
  // The relative change of the RMS of the tensor at expected_at: all that hashes and RMS can show of the fault.
  std::optional<double> rms_change;
  // What `tern compare --json` says.
  std::string found_at;  // empty: nowhere
  Json cause;            // null: none
  bool blames_right_side = false;
  std::optional<double> times_floor;  // the error of the tensor at expected_at, over its noise floor
  // Its judgement.
  bool placed = false, named = false;
  bool hidden = false;  // rounding could have done as much to each tensor, and nothing was found
};

struct CleanRow {
  size_t number = 0;
  std::string model;
  compare::Sided<std::string> engines;
  bool with_values = true;
  std::string blamed;  // the cause's id or the side that is called wrong; empty: neither, as it should be
};

struct DrawsPlan : peer::RunSetting {
  explicit DrawsPlan(const peer::RunSetting& setting) : RunSetting(setting) {}
  size_t n_draws = 0;  // of faults; a tenth as many of right engines are drawn besides
  uint64_t seed = 0;
  std::filesystem::path folder;  // exists and is empty; the caller removes it
  int n_at_a_time = 1;           // draws that are worked on at the same time
};

struct DrawsResult {
  std::vector<DrawnRow> rows;
  std::vector<CleanRow> clean;
  double seconds = 0;

  // By what the thresholds say.
  bool holds() const;
};

// The kinds of faults. Each is drawn as often as the others, to within one draw.
std::vector<std::string> draw_kinds();

// The same rows for the same seed and number of draws, however many are worked on at the same time. `tell` gets a line
// for each draw as soon as it is judged, one at a time. Errors: kEngine where an engine cannot run, or when
// interrupted; kIo; those of the model.
Result<DrawsResult> draw_and_judge(const DrawsPlan& plan, const std::function<void(const std::string&)>& tell);

Json to_json(const DrawsResult& result);
// A table by kind, the misses, and whether the thresholds hold.
std::string to_text(const DrawsResult& result);

}  // namespace tern::app
