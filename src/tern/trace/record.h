// One traced tensor as it stands in a file: identity, shape, BLAKE3, RMS. docs/trace-format.md states the format.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/json.h"
#include "tern/trace/stage.h"

namespace tern::trace {

// Row-major, slowest dimension first: [tokens, features], or [heads, tokens, keys] for attention scores.
using Shape = std::vector<int64_t>;

// [features, tokens] for [tokens, features]: the order in which ggml gives dimensions. The values are the same.
bool is_reversed(const Shape& a, const Shape& b);
inline bool is_same_or_reversed(const Shape& a, const Shape& b) { return a == b || is_reversed(a, b); }

struct TraceRecord {
  TensorId id;
  std::optional<uint64_t> index = {};  // place in execution order; absent where the engine does not state it
  Shape shape;
  std::string dtype = "F32";  // what the engine held before it was widened to float32
  std::string blake3;         // of the values as little-endian float32, 64 hex digits; empty: not stated
  std::optional<double> rms;  // computed in double; NaN where a value is NaN or infinite; absent: not stated
  uint64_t num_elements = 0;
  uint64_t non_finite = 0;  // how many values are NaN or infinite; written only when there are any
  std::string note;         // what the reader found odd about it, a clause; empty: nothing

  // Absent where the values are not finite, or the RMS is not stated.
  std::optional<double> finite_rms() const {
    return non_finite == 0 && rms && std::isfinite(*rms) ? rms : std::nullopt;
  }
  bool is_not_finite() const { return non_finite > 0 || (rms && !std::isfinite(*rms)); }
};

// The RMS, computed in double; nullopt where a value is not finite, or there is none.
std::optional<double> rms_of(std::span<const float> values);

// A record with the hash, RMS and counts of `values`, whose number must be the shape's product.
TraceRecord make_record(const TensorId& id, Shape shape, std::span<const float> values);

Json to_json(const TraceRecord& record);
// Reads one record of any engine. Unknown fields are ignored; fields that contradict the name are noted. `blake3` and
// `rms` may be missing. Errors: kInvalidInput, naming the field.
Result<TraceRecord> record_from_json(const Json& json, const std::string& where);

// "blk0/q_proj" -> "blk0_q_proj.trace". Two names may give one file name; a writer of such files refuses the second.
std::string trace_file_name(const TensorId& id);

// The records of one run in execution order, each id once.
class Records {
 public:
  Records() = default;
  // `records`: as they stood in one file, a record a line, or (kAnyOrder) in files of their own. They are ordered by
  // step, ubatch and `index`. Where one lacks its index, the order of the lines counts instead, or that of the table of
  // stages; all are then given an index. Errors: kInvalidInput at `where`, for two records of one name.
  enum class Given { kInOrder, kAnyOrder };
  static Result<Records> create(std::vector<TraceRecord> records, Given given, const std::string& where);

  auto begin() const { return records_.begin(); }
  auto end() const { return records_.end(); }
  size_t size() const { return records_.size(); }
  bool empty() const { return records_.empty(); }
  const TraceRecord& operator[](size_t i) const { return records_[i]; }
  const TraceRecord& front() const { return records_.front(); }
  const TraceRecord& back() const { return records_.back(); }

  // Null where there is none.
  const TraceRecord* find(const TensorId& id) const;
  // The records up to `last` in execution order, that one included; all where it is not among them.
  Records up_to(const TensorId& last) const;
  // The records whose ids `others` has, too.
  Records also_in(const Records& others) const;

 private:
  explicit Records(std::vector<TraceRecord> records);
  std::vector<TraceRecord> records_;
  std::vector<uint32_t> by_id_;  // places in records_, in the order of their ids
};

// Whether the run executed `a` before `b`, as its records say. Where it lacks one of them, the order of TensorId
// counts.
bool executed_before(const Records& run, const TensorId& a, const TensorId& b);

}  // namespace tern::trace
