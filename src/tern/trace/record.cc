#include "tern/trace/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <tuple>

#include "tern/base/check.h"
#include "tern/base/hash.h"
#include "tern/base/json_format.h"

namespace tern::trace {
namespace {

// Sum of squares in double, and how many values are not finite. Four interleaved sums keep the loop at memory speed;
// RMS is a diagnostic and is compared with tolerance, never bit for bit.
struct Squares {
  double sum = 0;
  uint64_t non_finite = 0;
};
Squares sum_of_squares(std::span<const float> values) {
  double sums[4] = {0, 0, 0, 0};
  size_t i = 0;
  for (; i + 4 <= values.size(); i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) {
      const double value = static_cast<double>(values[i + lane]);
      sums[lane] += value * value;
    }
  }
  for (; i < values.size(); ++i) {
    sums[0] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  Squares squares{(sums[0] + sums[1]) + (sums[2] + sums[3]), 0};
  if (!std::isfinite(squares.sum)) {
    squares.non_finite = static_cast<uint64_t>(
        std::count_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); }));
  }
  return squares;
}

bool is_blake3_hex(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<Shape> shape_from_json(const Json& json, const std::string& where, uint64_t* n_elements) {
  const auto it = json.find("shape");
  if (it == json.end() || !it->is_array() || it->empty() || it->size() > 8) {
    return invalid_input(where, "key \"shape\" is not an array of 1 to 8 dimensions");
  }
  Shape shape;
  *n_elements = 1;
  for (const Json& dimension : *it) {
    if (!dimension.is_number_integer() || dimension.get<int64_t>() < 0 || dimension.get<int64_t>() > INT32_MAX) {
      return invalid_input(where, "key \"shape\" holds something that is not a dimension");
    }
    shape.push_back(dimension.get<int64_t>());
    if (__builtin_mul_overflow(*n_elements, static_cast<uint64_t>(shape.back()), n_elements)) {
      return invalid_input(where, "key \"shape\": the product overflows");
    }
  }
  return shape;
}

// Fields that say something else than the name does; empty where none does.
std::string contradictions(const Json& json, const TensorId& id) {
  std::string out;
  const auto hold = [&](const char* key, const Json& by_name) {
    const auto stated = json.find(key);
    if (stated != json.end() && !stated->is_null() && *stated != by_name) {
      out += fmt::format("{}its {} is {}, by its name {}", out.empty() ? "" : ", ", key,
                         printable(to_json_line(*stated), 100), to_json_line(by_name));
    }
  };
  hold("stage", Json(id.stage.name()));
  hold("layer", Json(id.layer));
  hold("seq", Json(id.seq));
  hold("ubatch", Json(id.ubatch));
  return out;
}

}  // namespace

bool is_reversed(const Shape& a, const Shape& b) {
  return a != b && std::equal(a.begin(), a.end(), b.rbegin(), b.rend());
}

std::optional<double> rms_of(std::span<const float> values) {
  const Squares squares = sum_of_squares(values);
  return !values.empty() && std::isfinite(squares.sum)
             ? std::optional(std::sqrt(squares.sum / static_cast<double>(values.size())))
             : std::nullopt;
}

TraceRecord make_record(const TensorId& id, Shape shape, std::span<const float> values) {
  uint64_t n_elements = 1;
  for (const int64_t dimension : shape) {
    n_elements *= static_cast<uint64_t>(dimension);
  }
  TERN_CHECK(n_elements == values.size());
  TraceRecord record;
  record.id = id;
  record.shape = std::move(shape);
  record.blake3 = blake3_hex(values);
  record.num_elements = n_elements;
  const Squares squares = sum_of_squares(values);
  record.non_finite = squares.non_finite;
  record.rms = !values.empty() && std::isfinite(squares.sum)
                   ? std::sqrt(squares.sum / static_cast<double>(values.size()))
                   : std::numeric_limits<double>::quiet_NaN();
  return record;
}

Json to_json(const TraceRecord& record) {
  Json json = {
      {"name", record.id.name()},        {"seq", record.id.seq},
      {"ubatch", record.id.ubatch},      {"layer", record.id.layer},
      {"stage", record.id.stage.name()}, {"shape", record.shape},
      {"dtype", record.dtype},
  };
  if (!record.blake3.empty()) {
    json["blake3"] = record.blake3;
  }
  if (record.rms) {
    json["rms"] = json_number(*record.rms);
  }
  json["num_elements"] = record.num_elements;
  if (record.index) {
    json["index"] = *record.index;
  }
  if (record.non_finite > 0) {
    json["non_finite"] = record.non_finite;
  }
  if (!record.note.empty()) {
    json["note"] = record.note;
  }
  return with_format(Document::kTraceRecord, std::move(json));
}

Result<TraceRecord> record_from_json(const Json& json, const std::string& where) {
  TERN_RETURN_IF_ERROR(read_format(Document::kTraceRecord, json, where));
  TERN_ASSIGN_OR_RETURN(const std::string name, json_string(json, "name", where));
  const auto id = TensorId::parse(name);
  if (!id) {
    return invalid_input(
        where,
        fmt::format("key \"name\" is '{}', which cannot be a tensor's name", printable(name, TensorId::kMaxName)),
        "a name has at most 200 bytes, no control characters, no backslash, and no empty part, '.' "
        "or '..' between slashes");
  }
  TraceRecord record;
  record.id = *id;
  if (json.contains("blake3")) {
    TERN_ASSIGN_OR_RETURN(record.blake3, json_string(json, "blake3", where));
    if (!is_blake3_hex(record.blake3)) {
      return invalid_input(where, "key \"blake3\" is not 64 lower-case hex digits");
    }
  }
  uint64_t n_elements = 0;
  TERN_ASSIGN_OR_RETURN(record.shape, shape_from_json(json, where, &n_elements));
  record.num_elements = n_elements;
  if (json.contains("num_elements")) {
    TERN_ASSIGN_OR_RETURN(const int64_t stated, json_integer(json, "num_elements", where, 0, INT64_MAX));
    if (static_cast<uint64_t>(stated) != n_elements) {
      return invalid_input(where,
                           fmt::format("key \"num_elements\" is {}, but the shape holds {}", stated, n_elements));
    }
  }
  if (const auto rms = json.find("rms"); rms != json.end() && (rms->is_number() || rms->is_null())) {
    record.rms = rms->is_null() ? std::numeric_limits<double>::quiet_NaN() : rms->get<double>();
  }
  if (const auto dtype = json.find("dtype"); dtype != json.end() && dtype->is_string()) {
    record.dtype = dtype->get<std::string>();
  }
  if (json.contains("non_finite")) {
    TERN_ASSIGN_OR_RETURN(const int64_t count, json_integer(json, "non_finite", where, 0, INT64_MAX));
    record.non_finite = static_cast<uint64_t>(count);
  }
  if (json.contains("index")) {
    TERN_ASSIGN_OR_RETURN(const int64_t index, json_integer(json, "index", where, 0, INT64_MAX));
    record.index = static_cast<uint64_t>(index);
  }
  record.note = contradictions(json, record.id);
  if (const auto note = json.find("note"); note != json.end() && note->is_string() && record.note.empty()) {
    record.note = printable(note->get<std::string>());
  }
  return record;
}

std::string trace_file_name(const TensorId& id) {
  std::string name = id.name();
  std::replace(name.begin(), name.end(), '/', '_');
  return name + ".trace";
}

Records::Records(std::vector<TraceRecord> records) : records_(std::move(records)), by_id_(records_.size()) {
  std::iota(by_id_.begin(), by_id_.end(), 0U);
  std::sort(by_id_.begin(), by_id_.end(), [this](uint32_t a, uint32_t b) { return records_[a].id < records_[b].id; });
}

Result<Records> Records::create(std::vector<TraceRecord> records, Given given, const std::string& where) {
  const bool all_have_index =
      std::all_of(records.begin(), records.end(), [](const TraceRecord& record) { return record.index.has_value(); });
  if (given == Given::kAnyOrder) {
    std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  }
  std::stable_sort(records.begin(), records.end(), [all_have_index](const auto& a, const auto& b) {
    const uint64_t a_index = all_have_index ? *a.index : 0, b_index = all_have_index ? *b.index : 0;
    return std::tie(a.id.seq, a.id.ubatch, a_index) < std::tie(b.id.seq, b.id.ubatch, b_index);
  });
  for (size_t i = 0; i < records.size() && !all_have_index; ++i) {
    records[i].index = i;
  }
  Records ordered(std::move(records));
  const auto twice = std::adjacent_find(ordered.by_id_.begin(), ordered.by_id_.end(), [&](uint32_t a, uint32_t b) {
    return ordered.records_[a].id == ordered.records_[b].id;
  });
  if (twice != ordered.by_id_.end()) {
    return invalid_input(where, "holds two trace records named " + ordered.records_[*twice].id.name());
  }
  return ordered;
}

const TraceRecord* Records::find(const TensorId& id) const {
  const auto it = std::lower_bound(by_id_.begin(), by_id_.end(), id,
                                   [this](uint32_t i, const TensorId& wanted) { return records_[i].id < wanted; });
  return it != by_id_.end() && records_[*it].id == id ? &records_[*it] : nullptr;
}

Records Records::up_to(const TensorId& last) const {
  const TraceRecord* const found = find(last);
  const size_t n = found != nullptr ? static_cast<size_t>(found - records_.data()) + 1 : records_.size();
  return Records(std::vector<TraceRecord>(records_.begin(), records_.begin() + static_cast<ptrdiff_t>(n)));
}

Records Records::also_in(const Records& others) const {
  std::vector<TraceRecord> both;
  std::copy_if(records_.begin(), records_.end(), std::back_inserter(both),
               [&](const TraceRecord& record) { return others.find(record.id) != nullptr; });
  return Records(std::move(both));
}

bool executed_before(const Records& run, const TensorId& a, const TensorId& b) {
  const TraceRecord* const of_a = run.find(a);
  const TraceRecord* const of_b = run.find(b);
  return of_a != nullptr && of_b != nullptr ? of_a < of_b : a < b;  // both stand in one array, in execution order
}

}  // namespace tern::trace
