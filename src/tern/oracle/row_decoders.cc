#include "tern/oracle/row_decoders.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "tern/base/check.h"
#include "tern/quant/half.h"

namespace tern::oracle {
namespace {

template <class T>
T load_value(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

double load_half(const std::byte* at) { return static_cast<double>(quant::half_to_float(load_value<uint16_t>(at))); }

void decode_f32(const std::byte* data, const gguf::Tensor& tensor, uint64_t row, WeightRow& out) {
  for (uint64_t c = 0; c < tensor.n_cols(); ++c) {
    out.weights[c] = static_cast<double>(load_value<float>(data + 4 * (row * tensor.n_cols() + c)));
  }
}

void decode_f16(const std::byte* data, const gguf::Tensor& tensor, uint64_t row, WeightRow& out) {
  for (uint64_t c = 0; c < tensor.n_cols(); ++c) {
    out.weights[c] = load_half(data + 2 * (row * tensor.n_cols() + c));
  }
}

// The tensor is one run of blocks of 128 codes; its scale lies right behind them.
void decode_i2s_bitnet_cpp(const std::byte* data, const gguf::Tensor& tensor, uint64_t row, WeightRow& out) {
  const std::byte* codes = data + row * tensor.n_cols() / 4;
  for (uint64_t first = 0; first < tensor.n_cols(); first += 128, codes += 32) {
    for (uint64_t quarter = 0; quarter < 4; ++quarter) {
      for (uint64_t i = 0; i < 32; ++i) {
        const int code = std::to_integer<int>(codes[i] >> (6 - 2 * quarter)) & 3;
        out.weights[first + 32 * quarter + i] = code - 1;
      }
    }
  }
  out.scale = static_cast<double>(load_value<float>(data + tensor.n_elements() / 4));
}

// Codes 0, 1 stand for -2, -1, and codes 2, 3 for 1, 2.
double four_level(std::byte byte, uint64_t column) {
  const int code = std::to_integer<int>(byte >> (2 * (column % 4))) & 3;
  return code < 2 ? code - 2 : code - 1;
}

void decode_i2s_bitnet32(const std::byte* data, const gguf::Tensor& tensor, uint64_t row, WeightRow& out) {
  for (uint64_t c = 0; c < tensor.n_cols(); ++c) {
    const std::byte* block = data + 10 * ((row * tensor.n_cols() + c) / 32);
    out.weights[c] = four_level(block[c % 32 / 4], c) * load_half(block + 8);
  }
}

void decode_i2s_qk256(const std::byte* data, const gguf::Tensor& tensor, uint64_t row, WeightRow& out) {
  const uint64_t blocks_per_row = (tensor.n_cols() + 255) / 256;
  for (uint64_t c = 0; c < tensor.n_cols(); ++c) {
    out.weights[c] = four_level(data[64 * blocks_per_row * row + c / 4], c);
  }
}

void decode_q8_0(const std::byte* data, const gguf::Tensor& tensor, uint64_t row, WeightRow& out) {
  for (uint64_t c = 0; c < tensor.n_cols(); ++c) {
    const std::byte* block = data + 34 * ((row * tensor.n_cols() + c) / 32);
    out.weights[c] = load_half(block) * load_value<int8_t>(block + 2 + c % 32);
  }
}

// Two halves of 128 weights in 32 bytes each; a byte holds one weight of each quarter of its half.
void decode_tq2_0(const std::byte* data, const gguf::Tensor& tensor, uint64_t row, WeightRow& out) {
  const std::byte* block = data + row * (tensor.n_cols() / 256) * 66;
  for (uint64_t first = 0; first < tensor.n_cols(); first += 256, block += 66) {
    const double scale = load_half(block + 64);
    for (uint64_t quarter = 0; quarter < 8; ++quarter) {
      for (uint64_t i = 0; i < 32; ++i) {
        const int code = std::to_integer<int>(block[32 * (quarter / 4) + i] >> (2 * (quarter % 4))) & 3;
        out.weights[first + 32 * quarter + i] = (code - 1) * scale;
      }
    }
  }
}

struct RowDecoder {
  const quant::Format* format;
  // `data`: the tensor's. out.weights has its size, and out.scale is 1.
  void (*decode)(const std::byte* data, const gguf::Tensor& tensor, uint64_t row, WeightRow& out);
};

constexpr RowDecoder kDecoders[] = {
    {&quant::kF32, decode_f32},
    {&quant::kF16, decode_f16},
    {&quant::kQ8_0, decode_q8_0},
    {&quant::kTq2_0, decode_tq2_0},
    {&quant::kI2sBitnetCpp, decode_i2s_bitnet_cpp},
    {&quant::kI2sBitNet32F16, decode_i2s_bitnet32},
    {&quant::kI2sQk256, decode_i2s_qk256},
};

const RowDecoder* find_decoder(const quant::Format& format) {
  const auto* const found = std::find_if(std::begin(kDecoders), std::end(kDecoders),
                                         [&](const RowDecoder& decoder) { return decoder.format == &format; });
  return found == std::end(kDecoders) ? nullptr : found;
}

}  // namespace

bool can_decode(const quant::Format& format) { return find_decoder(format) != nullptr; }

void decode_row(const gguf::Tensor& tensor, uint64_t row, WeightRow& out) {
  const RowDecoder* decoder = find_decoder(*tensor.format);
  TERN_CHECK(decoder != nullptr && row < tensor.n_rows());
  out.scale = 1.0;
  out.weights.resize(tensor.n_cols());
  decoder->decode(tensor.data.data(), tensor, row, out);
}

}  // namespace tern::oracle
