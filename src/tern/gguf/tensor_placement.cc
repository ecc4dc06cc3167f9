#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "tern/gguf/parser.h"

namespace tern::gguf {
namespace {

using quant::Encoding;
using quant::I2sLayout;

constexpr std::array kLayouts = {I2sLayout::kBitnetCpp, I2sLayout::kBitNet32F16, I2sLayout::kQK256};

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
  Result<std::optional<I2sLayout>> decide_layout() const;
  Status set_data(I2sLayout layout);

 private:
  tl::unexpected<Error> error(const Tensor& tensor, const std::string& what, const std::string& hint = {}) const {
    return invalid_input(fmt::format("{} @ {:#x}: tensor {}", name_, tensor.file_offset, printable(tensor.name)), what,
                         hint);
  }
  // Whether the layout's size fills the tensor's room up to padding.
  bool fits(const Placed& placed, I2sLayout layout) const;
  tl::unexpected<Error> no_layout_fits() const;
  std::string expected_sizes(const Tensor& tensor) const;

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

bool Placement::fits(const Placed& placed, I2sLayout layout) const {
  const auto size = quant::encoded_size(Encoding::kI2S, layout, placed.tensor->n_rows(), placed.tensor->n_cols());
  return size && *size <= placed.room && placed.room - *size < alignment_;
}

std::string Placement::expected_sizes(const Tensor& tensor) const {
  std::string text;
  for (const I2sLayout layout : kLayouts) {
    const auto size = quant::encoded_size(Encoding::kI2S, layout, tensor.n_rows(), tensor.n_cols());
    text += fmt::format("{}{} ", text.empty() ? "" : ", ", quant::layout_name(layout));
    text += size ? fmt::format("{} bytes", *size) : "cannot hold this shape";
  }
  return text;
}

// Reports the first tensor that does not fit the layout which fits most of the others.
tl::unexpected<Error> Placement::no_layout_fits() const {
  I2sLayout closest = kLayouts[0];
  size_t most_fits = 0;
  for (const I2sLayout layout : kLayouts) {
    const auto n_fits = static_cast<size_t>(std::count_if(placed_.begin(), placed_.end(), [&](const Placed& placed) {
      return placed.tensor->encoding == Encoding::kI2S && fits(placed, layout);
    }));
    if (n_fits > most_fits) {
      most_fits = n_fits;
      closest = layout;
    }
  }
  const auto misfit = std::find_if(placed_.begin(), placed_.end(), [&](const Placed& placed) {
    return placed.tensor->encoding == Encoding::kI2S && !fits(placed, closest);
  });
  const Tensor& tensor = *misfit->tensor;
  return error(
      tensor,
      fmt::format("no I2_S layout fits the file: this tensor of {} x {} weights has room for {} bytes up to the "
                  "{}; expected, with less than {} bytes of padding: {}",
                  tensor.n_rows(), tensor.n_cols(), misfit->room, misfit->is_last ? "end of the file" : "next tensor",
                  alignment_, expected_sizes(tensor)),
      misfit->is_last ? "the file is truncated, has bytes appended, or uses another layout" : "");
}

Result<std::optional<I2sLayout>> Placement::decide_layout() const {
  std::vector<I2sLayout> fitting(kLayouts.begin(), kLayouts.end());
  const Placed* first = nullptr;
  for (const Placed& placed : placed_) {
    if (placed.tensor->encoding == Encoding::kI2S) {
      first = first == nullptr ? &placed : first;
      std::erase_if(fitting, [&](I2sLayout layout) { return !fits(placed, layout); });
    }
  }
  if (first == nullptr) {
    return std::optional<I2sLayout>();
  }
  if (fitting.empty()) {
    return no_layout_fits();
  }
  if (fitting.size() > 1) {
    return error(
        *first->tensor,
        fmt::format("the I2_S layouts {} and {} both fit every I2_S tensor of the file: it cannot be told how to "
                    "read it; expected at least one tensor whose size decides (this one: {})",
                    quant::layout_name(fitting[0]), quant::layout_name(fitting[1]), expected_sizes(*first->tensor)));
  }
  return std::optional(fitting[0]);
}

Status Placement::set_data(I2sLayout layout) {
  for (const Placed& placed : placed_) {
    Tensor& tensor = *placed.tensor;
    if (!tensor.encoding) {
      continue;
    }
    const auto size = quant::encoded_size(*tensor.encoding, layout, tensor.n_rows(), tensor.n_cols());
    if (!size || *size > placed.room) {
      return error(tensor,
                   fmt::format("needs {} bytes as {}, but only {} lie before the {}",
                               size ? std::to_string(*size) : "more than 2^64", quant::type_name(tensor.type_id),
                               placed.room, placed.is_last ? "end of the file" : "next tensor, which it overlaps"),
                   "the file is truncated or damaged");
    }
    tensor.data = file_.subspan(tensor.file_offset, *size);
  }
  return {};
}

}  // namespace

Result<std::optional<I2sLayout>> place_tensors(std::span<const std::byte> file, const std::string& name,
                                               uint64_t data_offset, uint64_t alignment, std::vector<Tensor>& tensors) {
  Placement placement(file, name, alignment);
  TERN_RETURN_IF_ERROR(placement.find_rooms(data_offset, tensors));
  TERN_ASSIGN_OR_RETURN(const std::optional<I2sLayout> layout, placement.decide_layout());
  TERN_RETURN_IF_ERROR(placement.set_data(layout.value_or(I2sLayout::kBitnetCpp)));
  return layout;
}

}  // namespace tern::gguf
