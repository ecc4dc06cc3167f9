// Follows an engine's trace while it runs and holds it against that of a known run. The first tensor in execution order
// that differs is found at once, and not when everything has been computed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "tern/trace/record.h"

namespace tern::sweep {

class Watch {
 public:
  // Whether what was seen of a tensor differs from what is known of it.
  using Differs = std::function<bool(const trace::TraceRecord& known, const trace::TraceRecord& seen)>;

  // `known`: must outlive this. `trace_folder` gets a *.trace file for each tensor.
  Watch(const trace::Records& known, std::filesystem::path trace_folder, Differs differs)
      : known_(known), trace_folder_(std::move(trace_folder)), differs_(std::move(differs)) {}

  // Looks at the files that have come since the last time, up to the first difference. A file that cannot be read (yet)
  // is looked at again. A known tensor is passed over once one of a later layer or pass is there without it.
  void look();
  const std::optional<trace::TensorId>& first_difference() const { return first_difference_; }
  // What was looked at, the first difference last.
  const std::vector<trace::TraceRecord>& seen() const { return seen_; }

 private:
  std::filesystem::path file_of(const trace::TraceRecord& record) const {
    return trace_folder_ / trace::trace_file_name(record.id);
  }
  bool is_passed_over(size_t index) const;

  const trace::Records& known_;
  std::filesystem::path trace_folder_;
  Differs differs_;
  size_t next_ = 0;
  std::vector<trace::TraceRecord> seen_;
  std::optional<trace::TensorId> first_difference_;
};

}  // namespace tern::sweep
