#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tern/gguf/parser.h"

namespace tern::gguf {
namespace {

using quant::Format;

// A tensor and the bytes up to the next tensor or the end of the file: its data and, behind it, padding.
struct Placed {
  Tensor* tensor;
  uint64_t room;
  bool is_last;
};

class Placement {
 public:
  Placement(std::span<const std::byte> file, const std::string& name, uint64_t alignment)
      : file_(file), name_(name), alignment_(alignment) {}

  Status find_rooms(uint64_t data_offset, std::vector<Tensor>& tensors);
  // Sets the format of all tensors.
  Status decide_formats();
  Status set_data();

 private:
  tl::unexpected<Error> error(const Tensor& tensor, const std::string& what, const std::string& hint = {}) const {
    return invalid_input(fmt::format("{} @ {:#x}: tensor {}", name_, tensor.file_offset, printable(tensor.name)), what,
                         hint);
  }
  Result<const Format*> decide_format(uint32_t type_id) const;
  // Whether the format's size fills the tensor's room up to padding.
  bool fits(const Placed& placed, const Format& format) const;
  tl::unexpected<Error> no_format_fits(const std::vector<const Format*>& candidates) const;

  std::span<const std::byte> file_;
  const std::string& name_;
  uint64_t alignment_;
  std::vector<Placed> placed_;  // by offset
};

Status Placement::find_rooms(uint64_t data_offset, std::vector<Tensor>& tensors) {
  for (Tensor& tensor : tensors) {
    tensor.file_offset += data_offset;  // both are below the file's size: no overflow
    if (tensor.file_offset >= file_.size()) {
      return error(tensor, fmt::format("its data begins past the end of the file ({:#x} bytes)", file_.size()),
                   "the file is truncated or damaged");
    }
    placed_.push_back({&tensor, 0, false});
  }
  std::stable_sort(placed_.begin(), placed_.end(),
                   [](const Placed& a, const Placed& b) { return a.tensor->file_offset < b.tensor->file_offset; });
  for (size_t i = 0; i < placed_.size(); ++i) {
    const bool is_last = i + 1 == placed_.size();
    const uint64_t end = is_last ? file_.size() : placed_[i + 1].tensor->file_offset;
    placed_[i].room = end - placed_[i].tensor->file_offset;
    placed_[i].is_last = is_last;
    if (placed_[i].room == 0) {
      return error(*placed_[i + 1].tensor, fmt::format("overlaps tensor {}, which begins at the same offset",
                                                       printable(placed_[i].tensor->name)));
    }
  }
  return {};
}

bool Placement::fits(const Placed& placed, const Format& format) const {
  const auto size = format.tensor_bytes(placed.tensor->n_rows(), placed.tensor->n_cols());
  return size && *size <= placed.room && placed.room - *size < alignment_;
}

std::string expected_sizes(const Tensor& tensor, const std::vector<const Format*>& candidates) {
  std::string text;
  for (const Format* format : candidates) {
    const auto size = format->tensor_bytes(tensor.n_rows(), tensor.n_cols());
    text += fmt::format("{}{} ", text.empty() ? "" : ", ", format->layout);
    text += size ? fmt::format("{} bytes", *size) : "cannot hold this shape";
  }
  return text;
}

// Reports the first tensor that does not fit the format which fits most of the others.
tl::unexpected<Error> Placement::no_format_fits(const std::vector<const Format*>& candidates) const {
  const uint32_t type_id = candidates.front()->type_id;
  const Format* closest = candidates.front();
  std::ptrdiff_t most_fits = 0;
  for (const Format* format : candidates) {
    const auto n_fits = std::count_if(placed_.begin(), placed_.end(), [&](const Placed& placed) {
      return placed.tensor->type_id == type_id && fits(placed, *format);
    });
    if (n_fits > most_fits) {
      most_fits = n_fits;
      closest = format;
    }
  }
  const auto misfit = std::find_if(placed_.begin(), placed_.end(), [&](const Placed& placed) {
    return placed.tensor->type_id == type_id && !fits(placed, *closest);
  });
  const Tensor& tensor = *misfit->tensor;
  return error(
      tensor,
      fmt::format("no {} layout fits the file: this tensor of {} x {} weights has room for {} bytes up to the "
                  "{}; expected, with less than {} bytes of padding: {}",
                  closest->name, tensor.n_rows(), tensor.n_cols(), misfit->room,
                  misfit->is_last ? "end of the file" : "next tensor", alignment_, expected_sizes(tensor, candidates)),
      misfit->is_last ? "the file is truncated, has bytes appended, or uses another layout" : "");
}

// Null for a type that tern cannot read.
Result<const Format*> Placement::decide_format(uint32_t type_id) const {
  const std::vector<const Format*> candidates = quant::formats_of_type(type_id);
  if (candidates.size() < 2) {
    return candidates.empty() ? nullptr : candidates.front();
  }
  std::vector<const Format*> fitting = candidates;
  const Tensor* first = nullptr;
  for (const Placed& placed : placed_) {
    if (placed.tensor->type_id == type_id) {
      first = first == nullptr ? placed.tensor : first;
      std::erase_if(fitting, [&](const Format* format) { return !fits(placed, *format); });
    }
  }
  if (fitting.empty()) {
    return no_format_fits(candidates);
  }
  if (fitting.size() > 1) {
    return error(
        *first,
        fmt::format("the {0} layouts {1} and {2} both fit every {0} tensor of the file: "
                    "it cannot be told how to read it; expected at least one tensor whose size decides (this one: {3})",
                    fitting[0]->name, fitting[0]->layout, fitting[1]->layout, expected_sizes(*first, candidates)));
  }
  return fitting.front();
}

Status Placement::decide_formats() {
  std::map<uint32_t, const Format*> formats;
  for (const Placed& placed : placed_) {
    const uint32_t type_id = placed.tensor->type_id;
    if (!formats.contains(type_id)) {
      TERN_ASSIGN_OR_RETURN(formats[type_id], decide_format(type_id));
    }
    placed.tensor->format = formats[type_id];
  }
  return {};
}

Status Placement::set_data() {
  for (const Placed& placed : placed_) {
    Tensor& tensor = *placed.tensor;
    if (tensor.format == nullptr) {
      continue;
    }
    const auto size = tensor.format->tensor_bytes(tensor.n_rows(), tensor.n_cols());
    if (!size && !tensor.format->pads_rows && tensor.n_cols() % tensor.format->block_cols != 0) {
      return error(tensor, fmt::format("its {} columns are not whole blocks of {} weights, as {} needs them",
                                       tensor.n_cols(), tensor.format->block_cols, tensor.format->name));
    }
    if (!size || *size > placed.room) {
      return error(tensor,
                   fmt::format("needs {} bytes as {}, but only {} lie before the {}",
                               size ? std::to_string(*size) : "more than 2^64", tensor.format->name, placed.room,
                               placed.is_last ? "end of the file" : "next tensor, which it overlaps"),
                   "the file is truncated or damaged");
    }
    tensor.data = file_.subspan(tensor.file_offset, *size);
  }
  return {};
}

}  // namespace

Status place_tensors(std::span<const std::byte> file, const std::string& name, uint64_t data_offset, uint64_t alignment,
                     std::vector<Tensor>& tensors) {
  Placement placement(file, name, alignment);
  TERN_RETURN_IF_ERROR(placement.find_rooms(data_offset, tensors));
  TERN_RETURN_IF_ERROR(placement.decide_formats());
  return placement.set_data();
}

}  // namespace tern::gguf
