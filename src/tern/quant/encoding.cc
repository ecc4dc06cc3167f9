#include "tern/quant/encoding.h"

#include <array>

#include "tern/quant/i2s.h"

namespace tern::quant {
namespace {

struct TypeName {
  uint32_t id;
  std::string_view name;
};

// ggml.h of llama.cpp, and of bitnet.cpp for 36 to 39 (llama.cpp gave 39 to MXFP4 later).
constexpr std::array kTypeNames = {
    TypeName{0, "F32"},      TypeName{1, "F16"},        TypeName{2, "Q4_0"},      TypeName{3, "Q4_1"},
    TypeName{6, "Q5_0"},     TypeName{7, "Q5_1"},       TypeName{8, "Q8_0"},      TypeName{9, "Q8_1"},
    TypeName{10, "Q2_K"},    TypeName{11, "Q3_K"},      TypeName{12, "Q4_K"},     TypeName{13, "Q5_K"},
    TypeName{14, "Q6_K"},    TypeName{15, "Q8_K"},      TypeName{16, "IQ2_XXS"},  TypeName{17, "IQ2_XS"},
    TypeName{18, "IQ3_XXS"}, TypeName{19, "IQ1_S"},     TypeName{20, "IQ4_NL"},   TypeName{21, "IQ3_S"},
    TypeName{22, "IQ2_S"},   TypeName{23, "IQ4_XS"},    TypeName{24, "I8"},       TypeName{25, "I16"},
    TypeName{26, "I32"},     TypeName{27, "I64"},       TypeName{28, "F64"},      TypeName{29, "IQ1_M"},
    TypeName{30, "BF16"},    TypeName{31, "Q4_0_4_4"},  TypeName{32, "Q4_0_4_8"}, TypeName{33, "Q4_0_8_8"},
    TypeName{34, "TQ1_0"},   TypeName{35, "TQ2_0"},     TypeName{36, "I2_S"},     TypeName{37, "I8_S"},
    TypeName{38, "TL1"},     TypeName{39, "TL2/MXFP4"}, TypeName{40, "NVFP4"},
};

constexpr uint64_t kI2sTailBytes = 32;

std::optional<uint64_t> product(uint64_t a, uint64_t b) {
  uint64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) {
    return std::nullopt;
  }
  return result;
}

std::optional<uint64_t> i2s_size(I2sLayout layout, uint64_t n_rows, uint64_t n_cols) {
  const auto block = static_cast<uint64_t>(i2s_block_size(layout));
  if ((layout != I2sLayout::kQK256 && n_cols % block != 0) || n_cols > UINT64_MAX - block) {
    return std::nullopt;
  }
  const auto bytes = product(n_rows, i2s_row_bytes(layout, n_cols));
  if (!bytes || layout != I2sLayout::kBitnetCpp) {
    return bytes;
  }
  return *bytes > UINT64_MAX - kI2sTailBytes ? std::nullopt : std::optional(*bytes + kI2sTailBytes);
}

}  // namespace

std::string_view layout_name(I2sLayout layout) {
  switch (layout) {
    case I2sLayout::kBitnetCpp:
      return "bitnet.cpp";
    case I2sLayout::kBitNet32F16:
      return "bitnet32";
    case I2sLayout::kQK256:
      return "qk256";
  }
  return "";  // unreachable: every enumerator returns above
}

std::optional<I2sLayout> layout_from_name(std::string_view name) {
  for (const auto layout : {I2sLayout::kBitnetCpp, I2sLayout::kBitNet32F16, I2sLayout::kQK256}) {
    if (name == layout_name(layout)) {
      return layout;
    }
  }
  return std::nullopt;
}

std::string type_name(uint32_t type_id) {
  for (const TypeName& type : kTypeNames) {
    if (type.id == type_id) {
      return std::string(type.name);
    }
  }
  return "type " + std::to_string(type_id);
}

std::optional<Encoding> supported_encoding(uint32_t type_id) {
  switch (type_id) {
    case static_cast<uint32_t>(Encoding::kF32):
      return Encoding::kF32;
    case static_cast<uint32_t>(Encoding::kF16):
      return Encoding::kF16;
    case static_cast<uint32_t>(Encoding::kI2S):
      return Encoding::kI2S;
    default:
      return std::nullopt;
  }
}

std::optional<uint64_t> encoded_size(Encoding encoding, I2sLayout layout, uint64_t n_rows, uint64_t n_cols) {
  const auto n_elements = product(n_rows, n_cols);
  if (!n_elements) {
    return std::nullopt;
  }
  switch (encoding) {
    case Encoding::kF32:
      return product(*n_elements, 4);
    case Encoding::kF16:
      return product(*n_elements, 2);
    case Encoding::kI2S:
      return i2s_size(layout, n_rows, n_cols);
  }
  return std::nullopt;  // unreachable: every enumerator returns above
}

}  // namespace tern::quant
