#include "tern/app/draws_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tern/base/json_format.h"

namespace tern::app {
namespace {

struct Count {
  size_t n = 0, placed = 0, named = 0, hidden = 0;

  void add(const DrawnRow& row) {
    ++n;
    hidden += row.hidden;
    placed += row.placed && !row.hidden;
    named += row.named && !row.hidden;
  }
  size_t seen() const { return n - hidden; }
  double share(size_t part) const { return seen() == 0 ? 1 : static_cast<double>(part) / static_cast<double>(seen()); }
  bool reaches(const DrawThresholds& thresholds) const {
    return share(placed) >= thresholds.placed && share(named) >= thresholds.named;
  }
};

Count count(const std::vector<DrawnRow>& rows, const std::function<bool(const DrawnRow&)>& is_wanted) {
  Count out;
  for (const DrawnRow& row : rows) {
    if (is_wanted(row)) {
      out.add(row);
    }
  }
  return out;
}

Count with_values(const DrawsResult& result, bool wanted) {
  return count(result.rows, [wanted](const DrawnRow& row) { return row.with_values == wanted; });
}

size_t n_blamed(const DrawsResult& result) {
  return static_cast<size_t>(
      std::count_if(result.clean.begin(), result.clean.end(), [](const CleanRow& row) { return !row.blamed.empty(); }));
}

std::string cause_id(const DrawnRow& row) {
  return row.cause.is_object() ? row.cause["id"].get<std::string>() : std::string("nothing");
}

std::string or_nowhere(const std::string& place) { return place.empty() ? "nowhere" : place; }

Json expected_json(const DrawnRow& row) {
  Json json = Json::array();
  for (const oracle::ExpectedCause& cause : row.expected) {
    json.push_back({{"id", cause.id}, {"parameters", cause.parameters}});
  }
  return json;
}

std::string expected_text(const DrawnRow& row) {
  std::vector<std::string> causes;
  for (const oracle::ExpectedCause& cause : row.expected) {
    causes.push_back(cause.parameters.empty() ? cause.id
                                              : fmt::format("{} with {}", cause.id, to_json_line(cause.parameters)));
  }
  return fmt::format("{}{}", fmt::join(causes, " or "), row.has_more ? " and more that is unexplained" : "");
}

// The cause that was found; with its parameters where its id is right and its figures are not.
std::string found_text(const DrawnRow& row) {
  const std::string id = cause_id(row);
  const bool is_expected = std::any_of(row.expected.begin(), row.expected.end(),
                                       [&](const oracle::ExpectedCause& cause) { return cause.id == id; });
  if (row.named || !is_expected) {
    return id;
  }
  const Json parameters = row.cause.value("parameters", Json());
  return id + (parameters.is_null() ? " without a figure" : " with " + to_json_line(parameters));
}

std::string share_text(const Count& count, size_t part, double threshold) {
  return fmt::format("{} of {} ({:.1f} %, {:.0f} % demanded)", part, count.seen(), 100 * count.share(part),
                     100 * threshold);
}

Json count_json(const Count& count) {
  return {{"draws", count.n}, {"placed", count.placed}, {"named", count.named}, {"hidden", count.hidden}};
}

}  // namespace

std::string line_of(const DrawnRow& row) {
  const std::string outcome =
      row.hidden
          ? "hidden by rounding"
          : fmt::format("{}, {}",
                        row.placed ? "placed"
                                   : fmt::format("placed {} instead of {}", or_nowhere(row.found_at), row.expected_at),
                        row.named ? "named" : "named " + found_text(row));
  return fmt::format("{}: {} ({}, the {}{}): {}", row.kind, row.does, row.model, compare::side_name(row.wrong),
                     row.with_values ? "" : ", hashes only", outcome);
}

std::string line_of(const CleanRow& row) {
  return fmt::format("right engines: {} against {} ({}{}): {}", row.engines.subject, row.engines.reference, row.model,
                     row.with_values ? "" : ", hashes only",
                     row.blamed.empty() ? "not blamed" : "BLAMED: " + row.blamed);
}

bool DrawsResult::holds() const {
  const Count all = count(rows, [](const DrawnRow&) { return true; });
  return with_values(*this, true).reaches(kWithValues) && with_values(*this, false).reaches(kWithHashes) &&
         static_cast<double>(all.hidden) <= kMaxHidden * static_cast<double>(all.n) && n_blamed(*this) == 0;
}

Json to_json(const DrawsResult& result) {
  Json rows = Json::array();
  for (const DrawnRow& row : result.rows) {
    rows.push_back({{"number", row.number},
                    {"kind", row.kind},
                    {"variant", row.variant},
                    {"does", row.does},
                    {"model", row.model},
                    {"wrong", compare::side_name(row.wrong)},
                    {"faulty_engine", row.faulty},
                    {"right_engine", row.right},
                    {"with_values", row.with_values},
                    {"expected_at", row.expected_at},
                    {"expected", expected_json(row)},
                    {"has_more", row.has_more},
                    {"rms_change", row.rms_change ? json_number(*row.rms_change) : Json(nullptr)},
                    {"found_at", row.found_at.empty() ? Json(nullptr) : Json(row.found_at)},
                    {"cause", row.cause},
                    {"blames_right_side", row.blames_right_side},
                    {"times_noise_floor", row.times_floor ? json_number(*row.times_floor) : Json(nullptr)},
                    {"placed", row.placed},
                    {"named", row.named},
                    {"hidden", row.hidden}});
  }
  Json clean = Json::array();
  for (const CleanRow& row : result.clean) {
    clean.push_back({{"number", row.number},
                     {"model", row.model},
                     {"subject", row.engines.subject},
                     {"reference", row.engines.reference},
                     {"with_values", row.with_values},
                     {"blamed", row.blamed.empty() ? Json(nullptr) : Json(row.blamed)}});
  }
  return with_format(Document::kCommand, {{"holds", result.holds()},
                                          {"seconds", json_number(result.seconds)},
                                          {"with_values", count_json(with_values(result, true))},
                                          {"with_hashes", count_json(with_values(result, false))},
                                          {"false_causes", n_blamed(result)},
                                          {"draws", std::move(rows)},
                                          {"right_engines", std::move(clean)}});
}

std::string to_text(const DrawsResult& result) {
  std::string out =
      "| kind | draws | placed | named | draws, hashes only | placed | named | hidden |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const std::string& kind : draw_kinds()) {
    const auto of = [&](bool values) {
      return count(result.rows, [&](const DrawnRow& row) { return row.kind == kind && row.with_values == values; });
    };
    const Count both = of(true), hashes = of(false);
    out += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", kind, both.n, both.placed, both.named, hashes.n,
                       hashes.placed, hashes.named, both.hidden + hashes.hidden);
  }
  std::string misses;
  for (const std::string& kind : draw_kinds()) {
    for (const DrawnRow& row : result.rows) {
      if (row.kind == kind && !row.hidden && !(row.placed && row.named)) {
        misses += fmt::format("- {}: {} ({}, the {} is wrong{}): expected {} at {}, found {} at {}{}\n", kind, row.does,
                              row.model, compare::side_name(row.wrong), row.with_values ? "" : ", hashes only",
                              expected_text(row), row.expected_at, found_text(row), or_nowhere(row.found_at),
                              row.blames_right_side ? ", and blames the right side" : "");
      }
    }
  }
  for (const CleanRow& row : result.clean) {
    misses += row.blamed.empty() ? "" : "- " + line_of(row) + "\n";
  }
  const Count values = with_values(result, true), hashes = with_values(result, false);
  out += misses.empty() ? "\nno misses\n" : "\nmisses\n" + misses;
  out += fmt::format("\nvalues on both sides: placed {}, named {}\n",
                     share_text(values, values.placed, kWithValues.placed),
                     share_text(values, values.named, kWithValues.named));
  out += fmt::format("hashes only on the subject's side: placed {}, named {}\n",
                     share_text(hashes, hashes.placed, kWithHashes.placed),
                     share_text(hashes, hashes.named, kWithHashes.named));
  for (const compare::Side side : compare::kSides) {
    const Count of_side =
        count(result.rows, [side](const DrawnRow& row) { return !row.with_values && row.wrong == side; });
    out += fmt::format("  of these, the {} is wrong: placed {} of {}, named {}\n", compare::side_name(side),
                       of_side.placed, of_side.seen(), of_side.named);
  }
  out += fmt::format("hidden by rounding: {} of {} (at most {:.0f} %)\n", values.hidden + hashes.hidden,
                     result.rows.size(), 100 * kMaxHidden);
  out += fmt::format("right engines blamed: {} of {}\n", n_blamed(result), result.clean.size());
  out +=
      fmt::format("{:.1f} s, {:.2f} s a draw: {}\n", result.seconds,
                  result.seconds / static_cast<double>(std::max<size_t>(result.rows.size() + result.clean.size(), 1)),
                  result.holds() ? "the thresholds hold" : "the thresholds do not hold");
  return out;
}

}  // namespace tern::app
