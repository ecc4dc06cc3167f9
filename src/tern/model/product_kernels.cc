#include "tern/model/product_kernels.h"

#include <algorithm>
#include <array>

#include "tern/kernels/four_level.h"
#include "tern/model/size.h"
#include "tern/quant/f16.h"
#include "tern/quant/i2s_bitnet_cpp.h"

namespace tern::model {
namespace {

using kernels::KernelTable;

// Rows that are decoded before they are multiplied: what kernels take at once.
constexpr size_t kRowsAtOnce = 8;

// A batch's products, or one token's, whose rows are read as eight runs side by side, each run's rows one after the
// other: in such runs memory is faster than row by row (see docs/performance.md).
template <class A>
void dot_products(void (*dot)(kernels::DotOrder, const kernels::DotProducts<A>&), kernels::DotOrder order,
                  const kernels::DotProducts<A>& p) {
  constexpr size_t kRuns = 8;
  const size_t run = p.n_b == 1 ? p.n_a / kRuns : 0;
  for (size_t i = 0; i < run; ++i) {
    float results[kRuns];
    dot(order, {p.a + i * p.a_stride, run * p.a_stride, kRuns, p.b, p.b_stride, 1, p.length, results, kRuns});
    for (size_t k = 0; k < kRuns; ++k) p.out[k * run + i] = results[k];
  }
  kernels::DotProducts<A> rest = p;
  rest.a += kRuns * run * p.a_stride;
  rest.n_a -= kRuns * run;
  rest.out += kRuns * run;
  if (rest.n_a > 0) {
    dot(order, rest);
  }
}

template <class A>
kernels::DotProducts<A> dot_products_of(const A* a, size_t n_a, const PartOfProduct& part) {
  const size_t n_cols = size(part.w.n_cols);
  return {a, n_cols, n_a, part.x, n_cols, part.n_tokens, n_cols, part.out, part.out_stride};
}

void multiply_f32(const KernelTable& table, const PartOfProduct& part) {
  const float* rows = part.w.floats() + part.row * size(part.w.n_cols);
  dot_products<float>(table.dot_f32, part.order, dot_products_of(rows, part.n_rows, part));
}

void multiply_f16(const KernelTable& table, const PartOfProduct& part) {
  const uint16_t* rows = part.w.halves() + part.row * size(part.w.n_cols);
  dot_products<uint16_t>(table.dot_f16, part.order, dot_products_of(rows, part.n_rows, part));
}

void multiply_i2s_bitnet_cpp(const KernelTable& table, const PartOfProduct& part) {
  const auto* codes = reinterpret_cast<const uint8_t*>(part.w.row(part.row).data());
  table.ternary_product({codes, quant::i2s_bitnet_cpp::tail_scale(part.w.tail()), part.n_rows, size(part.w.n_cols),
                         part.q, part.rounding, part.n_tokens, part.out, part.out_stride});
}

template <void (*kRowProduct)(const kernels::FourLevelRow&, std::span<int8_t>)>
void multiply_four_levels(const KernelTable&, const PartOfProduct& part) {
  part.scratch.levels.resize(size(part.w.n_cols));
  for (size_t r = 0; r < part.n_rows; ++r) {
    kRowProduct({part.w.row(part.row + r), part.q, part.rounding, part.n_tokens, part.out + r, part.out_stride},
                part.scratch.levels);
  }
}

void multiply_decoded_rows(const KernelTable& table, const PartOfProduct& part) {
  const size_t n_cols = size(part.w.n_cols);
  AlignedVector<float>& values = part.scratch.values;
  values.resize(std::max(values.size(), kRowsAtOnce * n_cols));
  for (size_t first = 0; first < part.n_rows; first += kRowsAtOnce) {
    const size_t n_rows = std::min(kRowsAtOnce, part.n_rows - first);
    for (size_t r = 0; r < n_rows; ++r) {
      part.w.format->decode_row(part.w.row(part.row + first + r), part.w.tail(),
                                std::span(values).subspan(r * n_cols, n_cols));
    }
    kernels::DotProducts<float> products = dot_products_of<float>(values.data(), n_rows, part);
    products.out += first;
    table.dot_f32(part.order, products);
  }
}

constexpr std::array kKernels = {
    ProductKernel{&quant::kF32, ActivationForm::kFloat, false, multiply_f32},
    ProductKernel{&quant::kF16, ActivationForm::kHalfForSingleToken, false, multiply_f16},
    ProductKernel{&quant::kI2sBitnetCpp, ActivationForm::kInt8, true, multiply_i2s_bitnet_cpp},
    ProductKernel{&quant::kI2sBitNet32F16, ActivationForm::kInt8, true,
                  multiply_four_levels<kernels::bitnet32_row_product>},
    ProductKernel{&quant::kI2sQk256, ActivationForm::kInt8, true, multiply_four_levels<kernels::qk256_row_product>},
};
constexpr ProductKernel kDecodedRows = {nullptr, ActivationForm::kByRule, false, multiply_decoded_rows};

struct RoundingKernel {
  const quant::ActivationRule* rule;
  void (*KernelTable::*round)(const float* x, size_t n, float* rounded);
};
constexpr std::array kRoundings = {RoundingKernel{&quant::f16::kActivations, &KernelTable::round_to_half}};

}  // namespace

const ProductKernel& product_kernel(const quant::Format& format) {
  const auto* const found = std::find_if(kKernels.begin(), kKernels.end(),
                                         [&](const ProductKernel& kernel) { return kernel.format == &format; });
  return found == kKernels.end() ? kDecodedRows : *found;
}

void round_by_rule(const KernelTable& table, const quant::ActivationRule& rule, std::span<const float> x,
                   std::span<float> rounded) {
  for (const RoundingKernel& kernel : kRoundings) {
    if (kernel.rule == &rule) {
      return (table.*kernel.round)(x.data(), x.size(), rounded.data());
    }
  }
  rule.round_row(x, rounded);
}

}  // namespace tern::model
