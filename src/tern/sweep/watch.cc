#include "tern/sweep/watch.h"

#include <algorithm>
#include <tuple>

#include "tern/trace/run_folder.h"

namespace tern::sweep {
namespace fs = std::filesystem;
namespace {

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// A layer of a pass, or what is before and behind the layers.
auto block_of(const trace::TraceRecord& record) { return std::tuple(record.id.seq, record.id.ubatch, record.id.layer); }

}  // namespace

// Engines compute the stages of one layer in an order of their own, but one layer after the other.
bool Watch::is_passed_over(size_t index) const {
  const auto later = std::find_if(known_.begin() + static_cast<ptrdiff_t>(index), known_.end(),
                                  [&](const auto& record) { return block_of(record) != block_of(known_[index]); });
  if (later == known_.end()) {
    return false;
  }
  const auto end =
      std::find_if(later, known_.end(), [&](const auto& record) { return block_of(record) != block_of(*later); });
  return std::any_of(later, end, [&](const auto& record) { return is_there(file_of(record)); });
}

void Watch::look() {
  for (; next_ < known_.size() && !first_difference_; ++next_) {
    const trace::TraceRecord& known = known_[next_];
    // In this order: what was written between the two looks is no gap.
    const bool is_gap = !is_there(file_of(known)) && is_passed_over(next_) && !is_there(file_of(known));
    if (is_gap) {
      continue;
    }
    auto seen = trace::read_trace_file(file_of(known));
    if (!seen || seen->id != known.id) {  // two names may give one file name
      return;
    }
    if (differs_(known, *seen)) {
      first_difference_ = known.id;
    }
    seen_.push_back(std::move(*seen));
  }
}

}  // namespace tern::sweep
