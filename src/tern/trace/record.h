// One traced tensor as it stands in a file: identity, shape, BLAKE3, RMS. The format is the contract's.
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

struct TraceRecord {
  TensorId id;
  Shape shape;
  std::string dtype = "F32";  // what the engine held before it was widened to float32
  std::string blake3;         // of the values as little-endian float32, 64 hex digits
  std::optional<double> rms;  // computed in double; absent where the values hold NaN or infinity
  uint64_t num_elements = 0;
  uint64_t non_finite = 0;  // how many values are NaN or infinite; written only when there are any

  // Absent where the values are not finite, or not there.
  std::optional<double> finite_rms() const {
    return non_finite == 0 && rms && std::isfinite(*rms) ? rms : std::nullopt;
  }
};

// Hash, RMS and counts of `values`, whose number must be the shape's product.
TraceRecord make_record(const TensorId& id, Shape shape, std::span<const float> values);

Json to_json(const TraceRecord& record);
// Reads one record of any engine. Unknown fields are ignored; a name that is none of our stages gives nullopt (such
// records are counted by the readers, never silently dropped). Errors: kInvalidInput, naming the field.
Result<std::optional<TraceRecord>> record_from_json(const Json& json, const std::string& where);

// "blk0/q_proj" -> "blk0_q_proj.trace"
std::string trace_file_name(const TensorId& id);

}  // namespace tern::trace
