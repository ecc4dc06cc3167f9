#include "tern/quant/format.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "tern/base/check.h"
#include "tern/quant/f16.h"
#include "tern/quant/f32.h"
#include "tern/quant/i2s_bitnet32.h"
#include "tern/quant/i2s_bitnet_cpp.h"
#include "tern/quant/i2s_qk256.h"
#include "tern/quant/i8s.h"
#include "tern/quant/q8_0.h"
#include "tern/quant/q8_k.h"
#include "tern/quant/tq2_0.h"

namespace tern::quant {

constexpr Format kF32 = {
    .type_id = 0,
    .name = "F32",
    .layout = {},
    .file_type = 0,
    .block_cols = 1,
    .block_bytes = 4,
    .pads_rows = false,
    .tail_bytes = 0,
    .alignment = 4,
    .activations = nullptr,
    .levels = {},
    .decode_row = f32::decode_row,
    .encode_row = f32::encode_row,
    .encode_tail = nullptr,
};

constexpr Format kF16 = {
    .type_id = 1,
    .name = "F16",
    .layout = {},
    .file_type = 1,
    .block_cols = 1,
    .block_bytes = 2,
    .pads_rows = false,
    .tail_bytes = 0,
    .alignment = 2,
    .activations = &f16::kActivations,
    .levels = {},
    .decode_row = f16::decode_row,
    .encode_row = f16::encode_row,
    .encode_tail = nullptr,
};

constexpr Format kQ8_0 = {
    .type_id = 8,
    .name = "Q8_0",
    .layout = {},
    .file_type = 7,
    .block_cols = q8_0::kBlockCols,
    .block_bytes = q8_0::kBlockBytes,
    .pads_rows = false,
    .tail_bytes = 0,
    .alignment = 1,
    .activations = &q8_0::kActivations,
    .levels = {},
    .decode_row = q8_0::decode_row,
    .encode_row = q8_0::encode_row,
    .encode_tail = nullptr,
};

constexpr Format kTq2_0 = {
    .type_id = 35,
    .name = "TQ2_0",
    .layout = {},
    .file_type = 37,
    .block_cols = tq2_0::kBlockCols,
    .block_bytes = tq2_0::kBlockBytes,
    .pads_rows = false,
    .tail_bytes = 0,
    .alignment = 1,
    .activations = &q8_k::kActivations,
    .levels = tq2_0::kLevels,
    .decode_row = tq2_0::decode_row,
    .encode_row = tq2_0::encode_row,
    .encode_tail = nullptr,
};

constexpr Format kI2sBitnetCpp = {
    .type_id = 36,
    .name = "I2_S",
    .layout = "bitnet.cpp",
    .file_type = 40,
    .block_cols = i2s_bitnet_cpp::kBlockCols,
    .block_bytes = i2s_bitnet_cpp::kBlockBytes,
    .pads_rows = false,
    .tail_bytes = i2s_bitnet_cpp::kTailBytes,
    .alignment = 1,
    .activations = &i8s::kActivations,
    .levels = i2s_bitnet_cpp::kLevels,
    .decode_row = i2s_bitnet_cpp::decode_row,
    .encode_row = i2s_bitnet_cpp::encode_row,
    .encode_tail = i2s_bitnet_cpp::encode_tail,
};

constexpr Format kI2sBitNet32F16 = {
    .type_id = 36,
    .name = "I2_S",
    .layout = "bitnet32",
    .file_type = 40,
    .block_cols = i2s_bitnet32::kBlockCols,
    .block_bytes = i2s_bitnet32::kBlockBytes,
    .pads_rows = false,
    .tail_bytes = 0,
    .alignment = 1,
    .activations = &i8s::kActivations,
    .levels = four_levels::kLevels,
    .decode_row = i2s_bitnet32::decode_row,
    .encode_row = i2s_bitnet32::encode_row,
    .encode_tail = nullptr,
};

constexpr Format kI2sQk256 = {
    .type_id = 36,
    .name = "I2_S",
    .layout = "qk256",
    .file_type = 40,
    .block_cols = 256,
    .block_bytes = 64,
    .pads_rows = true,
    .tail_bytes = 0,
    .alignment = 1,
    .activations = &i8s::kActivations,
    .levels = four_levels::kLevels,
    .is_unscaled = true,
    .decode_row = i2s_qk256::decode_row,
    .encode_row = i2s_qk256::encode_row,
    .encode_tail = nullptr,
};

namespace {

constexpr std::array kFormats = {&kF32, &kF16, &kQ8_0, &kTq2_0, &kI2sBitnetCpp, &kI2sBitNet32F16, &kI2sQk256};

// Types of ggml.h (llama.cpp, and bitnet.cpp for 37 to 39) that tern cannot read, so that errors name them.
struct OtherType {
  uint32_t id;
  std::string_view name;
};
constexpr OtherType kOtherTypes[] = {
    {2, "Q4_0"},      {3, "Q4_1"},     {6, "Q5_0"},    {7, "Q5_1"},       {9, "Q8_1"},      {10, "Q2_K"},
    {11, "Q3_K"},     {12, "Q4_K"},    {13, "Q5_K"},   {14, "Q6_K"},      {15, "Q8_K"},     {16, "IQ2_XXS"},
    {17, "IQ2_XS"},   {18, "IQ3_XXS"}, {19, "IQ1_S"},  {20, "IQ4_NL"},    {21, "IQ3_S"},    {22, "IQ2_S"},
    {23, "IQ4_XS"},   {24, "I8"},      {25, "I16"},    {26, "I32"},       {27, "I64"},      {28, "F64"},
    {29, "IQ1_M"},    {30, "BF16"},    {34, "TQ1_0"},  {40, "NVFP4"},     {31, "Q4_0_4_4"}, {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"}, {37, "I8_S"},    {38, "TL1"},    {39, "TL2/MXFP4"}, {41, "Q1_0"},     {42, "Q2_0"},
    {134, "IQ1_BN"},  {135, "IQ2_BN"}, {142, "PQ2_0"}, {143, "PTQ1_0"},
};

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

std::string_view known_name(uint32_t type_id) {
  for (const Format* format : kFormats) {
    if (format->type_id == type_id) {
      return format->name;
    }
  }
  for (const OtherType& type : kOtherTypes) {
    if (type.id == type_id) {
      return type.name;
    }
  }
  return {};
}

}  // namespace

uint64_t Format::row_bytes(uint64_t n_cols) const {
  return (n_cols / block_cols + (n_cols % block_cols == 0 ? 0 : 1)) * block_bytes;
}

std::optional<uint64_t> Format::tensor_bytes(uint64_t n_rows, uint64_t n_cols) const {
  uint64_t bytes = 0;
  const bool holds = n_cols % block_cols == 0 || pads_rows;
  if (!holds || n_cols / block_cols >= UINT64_MAX / block_bytes ||
      __builtin_mul_overflow(n_rows, row_bytes(n_cols), &bytes) ||
      __builtin_add_overflow(bytes, uint64_t{tail_bytes}, &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

std::span<const Format* const> formats() { return kFormats; }

std::vector<const Format*> formats_of_type(uint32_t type_id) {
  std::vector<const Format*> found;
  std::copy_if(kFormats.begin(), kFormats.end(), std::back_inserter(found),
               [type_id](const Format* format) { return format->type_id == type_id; });
  return found;
}

const Format* find_format(std::string_view name, std::string_view layout) {
  const auto found = std::find_if(kFormats.begin(), kFormats.end(), [&](const Format* format) {
    return lower_case(format->name) == name && format->layout == layout;
  });
  return found == kFormats.end() ? nullptr : *found;
}

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const Format* format : kFormats) {
    if (names.empty() || names.back() != lower_case(format->name)) {
      names.push_back(lower_case(format->name));
    }
  }
  return names;
}

std::vector<std::string> layouts_of(std::string_view name) {
  std::vector<std::string> layouts;
  for (const Format* format : kFormats) {
    if (lower_case(format->name) == name && !format->layout.empty()) {
      layouts.emplace_back(format->layout);
    }
  }
  return layouts;
}

std::string type_name(uint32_t type_id) {
  const std::string_view name = known_name(type_id);
  return name.empty() ? "type " + std::to_string(type_id) : std::string(name);
}

std::string type_name_and_id(uint32_t type_id) {
  const std::string number = "type " + std::to_string(type_id);
  const std::string_view name = known_name(type_id);
  return name.empty() ? number : std::string(name) + " (" + number + ")";
}

std::vector<std::byte> encode(const Format& format, std::span<const float> values, uint64_t n_rows, uint64_t n_cols,
                              float unit) {
  const auto size = format.tensor_bytes(n_rows, n_cols);
  TERN_CHECK(size.has_value() && values.size() == n_rows * n_cols);
  std::vector<std::byte> bytes(*size);
  const uint64_t row_bytes = format.row_bytes(n_cols);
  for (uint64_t row = 0; row < n_rows; ++row) {
    format.encode_row(values.subspan(row * n_cols, n_cols), unit, std::span(bytes).subspan(row * row_bytes, row_bytes));
  }
  if (format.tail_bytes > 0) {
    format.encode_tail(unit, std::span(bytes).last(format.tail_bytes));
  }
  return bytes;
}

}  // namespace tern::quant
