// One tensor of a run, as the oracle computes it with each of many faults. It shows which of them could be the cause,
// without a forward pass for each.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/oracle/oracle.h"
#include "tern/trace/record.h"

namespace tern::oracle {

// Which tensor of which run.
struct OneTensor {
  trace::TensorId id;
  std::span<const int32_t> prompt;
  std::span<const int32_t> fed;                // one id for each decode step
  size_t ubatch = 512;                         // prompt tokens evaluated at once, at least 1
  const trace::Inputs* inputs = nullptr;       // Settings::inputs; null: everything before the tensor is computed
  std::optional<trace::TensorId> around = {};  // Settings::around
};

struct TensorWithFault {
  std::string_view fault;  // as parse_fault() takes it
  // float32, row-major. A shape of {0}: with this fault there is no such tensor.
  trace::Shape shape;
  std::span<const float> values;  // valid during the call
};

// Computes it with each fault, as a whole pass with that fault would record it, bit for bit, and hands it to `take`,
// one at a time, in any order. Faults with which it cannot be computed are left out. The faults are shared out over at
// most `n_threads` threads; fewer, where so many passes over many tokens would need more than a gigabyte together.
// Errors: those of Oracle::load() and of `take`; kUsage for a fault that is not known; the first of evaluate()'s where
// it cannot be computed with any of them.
Status compute_with_faults(const gguf::View& view, const OneTensor& tensor, std::span<const std::string> faults,
                           int n_threads, const std::function<Status(const TensorWithFault&)>& take);

}  // namespace tern::oracle
