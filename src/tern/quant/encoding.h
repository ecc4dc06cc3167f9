// How tensor values are stored in a GGUF file: the encodings tern computes with, and the size rule of each.
// Numbers are GGUF's tensor type ids (ggml.h, enum ggml_type; 36 is bitnet.cpp's I2_S).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tern::quant {

enum class Encoding : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kI2S = 36,
};

// Three incompatible layouts share the name I2_S. Which one a file uses is decided for the whole file from its
// tensors' sizes (gguf::View does that).
enum class I2sLayout {
  kBitnetCpp,    // "bitnet.cpp": 128 weights in 32 bytes, one float32 scale for the tensor in a 32-byte tail
  kBitNet32F16,  // "bitnet32": 32 weights in 8 bytes and a float16 scale, 10 bytes a block
  kQK256,        // "qk256": 256 weights in 64 bytes, rows padded to whole blocks, no scale
};

std::string_view layout_name(I2sLayout layout);
std::optional<I2sLayout> layout_from_name(std::string_view name);

// The name of any tensor type id that GGUF files are seen to carry ("Q4_K"), supported or not; "type 99" otherwise.
std::string type_name(uint32_t type_id);
std::optional<Encoding> supported_encoding(uint32_t type_id);

// Bytes of a tensor of n_rows rows by n_cols columns, or nullopt if it overflows 64 bits or the encoding cannot hold
// that shape (e.g. a column count that is no multiple of the block).
std::optional<uint64_t> encoded_size(Encoding encoding, I2sLayout layout, uint64_t n_rows, uint64_t n_cols);

}  // namespace tern::quant
