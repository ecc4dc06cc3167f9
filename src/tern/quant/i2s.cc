#include "tern/quant/i2s.h"

#include <array>
#include <cstring>

#include "tern/base/check.h"
#include "tern/quant/half.h"

namespace tern::quant {
namespace {

constexpr size_t kGroup = 32;             // bitnet.cpp: a byte's four weights stand 32 apart
constexpr size_t kBitNet32CodeBytes = 8;  // then the float16 scale
constexpr size_t kBitNet32BlockBytes = 10;
constexpr size_t kTailBytes = 32;
constexpr std::array<int8_t, 4> kFourLevels = {-2, -1, 1, 2};

// Where the two bits of one weight lie in its row.
struct CodePosition {
  size_t byte;
  unsigned shift;
};

constexpr CodePosition code_position(I2sLayout layout, size_t col) {
  switch (layout) {
    case I2sLayout::kBitnetCpp: {
      const size_t in_block = col % 128;
      return {col / 128 * kGroup + in_block % kGroup, static_cast<unsigned>(6 - 2 * (in_block / kGroup))};
    }
    case I2sLayout::kBitNet32F16:
      return {col / 32 * kBitNet32BlockBytes + col % 32 / 4, static_cast<unsigned>(2 * (col % 4))};
    case I2sLayout::kQK256:
      return {col / 4, static_cast<unsigned>(2 * (col % 4))};
  }
  return {0, 0};  // unreachable: every enumerator returns above
}

unsigned code_of(I2sLayout layout, int8_t factor) {
  if (layout == I2sLayout::kBitnetCpp) {
    TERN_CHECK(factor >= -1 && factor <= 1);
    return static_cast<unsigned>(factor + 1);
  }
  TERN_CHECK(factor >= -2 && factor <= 2 && factor != 0);
  return static_cast<unsigned>(factor < 0 ? factor + 2 : factor + 1);
}

}  // namespace

int i2s_block_size(I2sLayout layout) {
  switch (layout) {
    case I2sLayout::kBitnetCpp:
      return 128;
    case I2sLayout::kBitNet32F16:
      return 32;
    case I2sLayout::kQK256:
      return 256;
  }
  return 0;  // unreachable: every enumerator returns above
}

uint64_t i2s_row_bytes(I2sLayout layout, uint64_t n_cols) {
  switch (layout) {
    case I2sLayout::kBitnetCpp:
      return n_cols / 4;
    case I2sLayout::kBitNet32F16:
      return n_cols / 32 * kBitNet32BlockBytes;
    case I2sLayout::kQK256:
      return (n_cols + 255) / 256 * 64;
  }
  return 0;  // unreachable: every enumerator returns above
}

namespace {

// The layout is a template argument, so that the compiler sees through code_position().
template <I2sLayout kLayout>
void unpack_row(std::span<const std::byte> row, std::span<int8_t> factors) {
  for (size_t col = 0; col < factors.size(); ++col) {
    const CodePosition at = code_position(kLayout, col);
    const auto code = std::to_integer<unsigned>(row[at.byte]) >> at.shift & 3u;
    factors[col] =
        kLayout == I2sLayout::kBitnetCpp ? static_cast<int8_t>(static_cast<int>(code) - 1) : kFourLevels[code];
  }
}

}  // namespace

void i2s_unpack_row(I2sLayout layout, std::span<const std::byte> row, std::span<int8_t> factors) {
  TERN_CHECK(row.size() == i2s_row_bytes(layout, factors.size()));
  switch (layout) {
    case I2sLayout::kBitnetCpp:
      return unpack_row<I2sLayout::kBitnetCpp>(row, factors);
    case I2sLayout::kBitNet32F16:
      return unpack_row<I2sLayout::kBitNet32F16>(row, factors);
    case I2sLayout::kQK256:
      return unpack_row<I2sLayout::kQK256>(row, factors);
  }
}

float i2s_scale_at(I2sLayout layout, std::span<const std::byte> row, uint64_t col, float tensor_scale) {
  if (layout == I2sLayout::kBitnetCpp) {
    return tensor_scale;
  }
  if (layout == I2sLayout::kQK256) {
    return 1.0F;
  }
  const size_t at = col / 32 * kBitNet32BlockBytes + kBitNet32CodeBytes;
  TERN_CHECK(at + sizeof(uint16_t) <= row.size());
  uint16_t half = 0;
  std::memcpy(&half, row.data() + at, sizeof(half));
  return half_to_float(half);
}

float i2s_tail_scale(std::span<const std::byte> tensor, uint64_t n_rows, uint64_t n_cols) {
  const uint64_t at = n_rows * i2s_row_bytes(I2sLayout::kBitnetCpp, n_cols);
  TERN_CHECK(at + kTailBytes <= tensor.size());
  float scale = 0;
  std::memcpy(&scale, tensor.data() + at, sizeof(scale));
  return scale;
}

void i2s_pack_row(I2sLayout layout, std::span<const int8_t> factors, float scale, std::span<std::byte> row) {
  TERN_CHECK(row.size() == i2s_row_bytes(layout, factors.size()));
  for (size_t col = 0; col < factors.size(); ++col) {
    const CodePosition at = code_position(layout, col);
    row[at.byte] |= static_cast<std::byte>(code_of(layout, factors[col]) << at.shift);
  }
  if (layout == I2sLayout::kBitNet32F16) {
    const uint16_t half_scale = float_to_half(scale);
    for (size_t at = kBitNet32CodeBytes; at < row.size(); at += kBitNet32BlockBytes) {
      std::memcpy(row.data() + at, &half_scale, sizeof(half_scale));
    }
  }
}

std::vector<std::byte> i2s_pack(I2sLayout layout, std::span<const int8_t> factors, uint64_t n_rows, uint64_t n_cols,
                                float scale) {
  const auto size = encoded_size(Encoding::kI2S, layout, n_rows, n_cols);
  TERN_CHECK(size.has_value() && factors.size() == n_rows * n_cols);
  TERN_CHECK(layout != I2sLayout::kQK256 || scale == 1.0F);
  std::vector<std::byte> packed(*size);
  const uint64_t row_bytes = i2s_row_bytes(layout, n_cols);
  for (uint64_t row = 0; row < n_rows; ++row) {
    i2s_pack_row(layout, factors.subspan(row * n_cols, n_cols), scale,
                 std::span(packed).subspan(row * row_bytes, row_bytes));
  }
  if (layout == I2sLayout::kBitnetCpp) {
    std::memcpy(packed.data() + n_rows * row_bytes, &scale, sizeof(scale));
  }
  return packed;
}

}  // namespace tern::quant
