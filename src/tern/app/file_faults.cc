#include "tern/app/file_faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace tern::app {
namespace {

Result<const gguf::Tensor*> tensor_of(const gguf::View& view, const std::string& name) {
  const gguf::Tensor* tensor = view.find_tensor(name);
  return tensor != nullptr ? Result<const gguf::Tensor*>(tensor) : invalid_input(view.name(), "has no tensor " + name);
}

// Each weight of the row 7 becomes its opposite: codes 0 and 2 change places.
Status negate_a_row(const gguf::View& view, std::string& bytes) {
  TERN_ASSIGN_OR_RETURN(const gguf::Tensor* tensor, tensor_of(view, "blk.2.ffn_up.weight"));
  const uint64_t row_bytes = tensor->n_cols() / 4;
  for (uint64_t i = 0; i < row_bytes; ++i) {
    char& byte = bytes[tensor->file_offset + 7 * row_bytes + i];
    byte = static_cast<char>(0xaa - static_cast<unsigned char>(byte));  // 2 - code in each of the four
  }
  return {};
}

Status forget_scales(const gguf::View& view, std::string& bytes) {
  const float one = 1;
  for (const gguf::Tensor& tensor : view.tensors()) {
    if (tensor.format == &quant::kI2sBitnetCpp) {
      std::copy_n(reinterpret_cast<const char*>(&one), sizeof(one),
                  bytes.begin() + static_cast<std::ptrdiff_t>(tensor.file_offset + tensor.n_elements() / 4));
    }
  }
  return {};
}

Status swap_gate_and_up(const gguf::View& view, std::string& bytes) {
  for (int layer = 0; view.find_tensor(fmt::format("blk.{}.ffn_up.weight", layer)) != nullptr; ++layer) {
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* up, tensor_of(view, fmt::format("blk.{}.ffn_up.weight", layer)));
    TERN_ASSIGN_OR_RETURN(const gguf::Tensor* gate, tensor_of(view, fmt::format("blk.{}.ffn_gate.weight", layer)));
    const auto at = [&](const gguf::Tensor& tensor) {
      return bytes.begin() + static_cast<std::ptrdiff_t>(tensor.file_offset);
    };
    std::swap_ranges(at(*up), at(*up) + static_cast<std::ptrdiff_t>(up->data.size()), at(*gate));
  }
  return {};
}

// Rewrites each block of 128 so that its right reader reads what a reader with blocks of 64 makes of the right file.
Status pack_for_block_64(const gguf::View& view, std::string& bytes) {
  for (const gguf::Tensor& tensor : view.tensors()) {
    if (tensor.format != &quant::kI2sBitnetCpp) {
      continue;
    }
    for (uint64_t block = 0; block < tensor.n_elements() / 128; ++block) {
      const auto old = tensor.data.subspan(block * 32, 32);
      std::array<unsigned char, 32> packed{};
      for (size_t c = 0; c < 128; ++c) {
        const auto byte = std::to_integer<unsigned>(old[c / 64 * 16 + c % 16]);
        const unsigned code = byte >> (6 - 2 * (c % 64 / 16)) & 3;
        packed[c % 32] = static_cast<unsigned char>(packed[c % 32] | code << (6 - 2 * (c / 32)));
      }
      std::copy_n(reinterpret_cast<const char*>(packed.data()), packed.size(),
                  bytes.begin() + static_cast<std::ptrdiff_t>(tensor.file_offset + block * 32));
    }
  }
  return {};
}

constexpr FileFault kFileFaults[] = {
    {"one negated row", "our engine on a copy of the model in which one row of blk.2.ffn_up is negated", "weight_sign",
     negate_a_row},
    {"scales of 1", "our engine on a copy of the model whose ternary tensors have the scale 1", "weight_scale",
     forget_scales},
    {"gate for up", "our engine on a copy of the model in which gate and up change places", "weights_swapped",
     swap_gate_and_up},
    {"blocks of 64", "our engine on a copy of the model packed as a reader of blocks of 64 reads it", "i2s_block_size",
     pack_for_block_64},
};

}  // namespace

std::span<const FileFault> file_faults() { return kFileFaults; }

}  // namespace tern::app
