// Isolation: an engine that is given these inputs computes each stage from what another run recorded of the stages
// before it, instead of from its own results. Its errors are then each stage's own, and none is inherited.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>

#include "tern/base/error.h"
#include "tern/trace/record.h"
#include "tern/trace/safetensors.h"

namespace tern::trace {

class Inputs {
 public:
  // The values of a run folder, its tensors.safetensors, which must stay as it is while this lives. Where `before` is
  // given, only those of tensors that the run executed before that one: by its records, and by the order of TensorId
  // where one of the two has no record. Errors: those of Safetensors::open() and read_trace_folder().
  static Result<Inputs> open(const std::filesystem::path& run_folder,
                             const std::optional<TensorId>& before = std::nullopt);

  // Puts the other run's values in the place of what was computed; false, and nothing done, where it has none of that
  // shape. To be called when a stage has been recorded, before anything else reads it.
  template <class Real>
  bool take_over(const TensorId& id, const Shape& shape, std::span<Real> computed) const {
    const Safetensors::Entry* theirs = values_.find(id.name());
    const bool taken = theirs != nullptr && is_taken(id) && is_same_or_reversed(theirs->shape, shape) &&
                       theirs->values.size() == computed.size();
    if (taken) {
      std::copy(theirs->values.begin(), theirs->values.end(), computed.begin());
    }
    return taken;
  }

 private:
  Inputs(Safetensors values, const std::optional<TensorId>& before, Records records)
      : values_(std::move(values)), before_(before), records_(std::move(records)) {}
  bool is_taken(const TensorId& id) const;

  Safetensors values_;
  std::optional<TensorId> before_;
  Records records_;  // of the run, where before_ is given
};

}  // namespace tern::trace
