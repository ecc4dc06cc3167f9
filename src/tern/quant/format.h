// How tensor values are stored in a GGUF file: one row per encoding. A tensor points to its row (gguf::Tensor::format),
// and code whose work depends on the encoding reads it there.
//
// The functions of a row are portable and plain: they are the truth that kernels are tested against. The oracle has
// decoders of its own, and a test compares the two for every row of the table.
// One more encoding is a header with its functions and a row in format.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tern::quant {

// How an engine rounds a row of activations before it multiplies them with weights of some format.
struct ActivationRule {
  std::string_view name;  // ggml's name of the rounded type: "I8_S", "Q8_K"
  // Writes the values that the rounded activations stand for. `rounded` has the size of `x` and may be `x` itself.
  void (*round_row)(std::span<const float> x, std::span<float> rounded);
};

struct Format {
  uint32_t type_id;         // GGUF's tensor type (ggml.h, enum ggml_type; 36 is bitnet.cpp's)
  std::string_view name;    // "Q8_0"; formats that share a type id share the name
  std::string_view layout;  // "qk256": distinguishes formats with one type id; empty where the id has one format only
  uint32_t file_type;       // general.file_type of a model whose matrices have this format (llama.h, llama_ftype)

  uint32_t block_cols;   // columns that are stored together; 1 for plain floats
  uint32_t block_bytes;  // bytes of such a block
  bool pads_rows;        // the last block of a row may be partly used; otherwise a row is whole blocks
  uint32_t tail_bytes;   // bytes after the last row
  uint32_t alignment;    // of the data in memory, as the kernels for this format need it; a power of two

  const ActivationRule* activations;  // null: products take the activations as they are
  std::span<const int8_t> levels;     // what a code can stand for, times a scale; empty: rounded from any value
  bool is_unscaled = false;  // levels are the weights themselves, and the norm in front of a matrix carries its scale

  // `row`: row_bytes() bytes. `tail`: tail_bytes bytes. `values`: one for each column.
  void (*decode_row)(std::span<const std::byte> row, std::span<const std::byte> tail, std::span<float> values);
  // The inverse. `unit`: what level 1 stands for where the scale belongs to the whole tensor (the three layouts of
  // I2_S); all other formats choose the scale of each block from its values, as ggml's reference encoders do.
  void (*encode_row)(std::span<const float> values, float unit, std::span<std::byte> row);
  // Null where tail_bytes is 0.
  void (*encode_tail)(float unit, std::span<std::byte> tail);

  bool is_float() const { return block_cols == 1; }
  // n_cols is one that the format can hold: see tensor_bytes().
  uint64_t row_bytes(uint64_t n_cols) const;
  // Bytes of n_rows rows and the tail, without padding; nullopt if they overflow 64 bits or rows of n_cols columns are
  // not whole blocks.
  std::optional<uint64_t> tensor_bytes(uint64_t n_rows, uint64_t n_cols) const;
};

// The whole table, by type id.
std::span<const Format* const> formats();

// Rows that other code names because it has a kernel, a decoder or a rule for just this one.
extern const Format kF32;
extern const Format kF16;
extern const Format kQ8_0;
extern const Format kTq2_0;
extern const Format kI2sBitnetCpp;
extern const Format kI2sBitNet32F16;
extern const Format kI2sQk256;

// The formats that share this type id, in the table's order; empty where tern cannot read the type.
std::vector<const Format*> formats_of_type(uint32_t type_id);

// By the name in lower case ("i2_s", "f16"), and by the layout where several formats have that name. Null where there
// is none.
const Format* find_format(std::string_view name, std::string_view layout = {});

// "i2_s", "f16": the names that find_format() takes, each once.
std::vector<std::string> format_names();
// The layouts of the formats with this name, in lower case; empty where there is only one format.
std::vector<std::string> layouts_of(std::string_view name);

// The name of a tensor type that GGUF files are known to have ("Q4_K"), whether or not tern can read it. "type 99"
// for another.
std::string type_name(uint32_t type_id);
// "IQ4_XS (type 23)", "type 99".
std::string type_name_and_id(uint32_t type_id);

// A whole tensor: n_rows rows of `values` and the tail. Its shape must be one that the format can hold.
std::vector<std::byte> encode(const Format& format, std::span<const float> values, uint64_t n_rows, uint64_t n_cols,
                              float unit);

}  // namespace tern::quant
