#include "tern/model/multiply.h"

#include <algorithm>

#include "tern/base/check.h"
#include "tern/kernels/four_level.h"
#include "tern/quant/i2s.h"

namespace tern::model {
namespace {

using quant::Encoding;

// Rows that one thread takes at a time. One token: enough bytes that memory is read in long runs. A batch: few enough
// that their codes stay in the second-level cache while all tokens pass by.
constexpr int64_t kBytesForOneToken = 160 << 10;
constexpr int64_t kRowsForBatch = 64;
constexpr int64_t kMultipleOfRows = 8;  // what kernels take at once

int64_t rows_in_piece(const Matrix& w, int64_t n_tokens) {
  if (n_tokens > 1) {
    return kRowsForBatch;
  }
  return std::max(kMultipleOfRows, kBytesForOneToken / w.row_bytes() / kMultipleOfRows * kMultipleOfRows);
}

int64_t n_pieces_of(const Matrix& w, int64_t n_tokens) {
  const int64_t rows = rows_in_piece(w, n_tokens);
  return (w.n_rows + rows - 1) / rows;
}

size_t size(int64_t n) { return static_cast<size_t>(n); }

}  // namespace

struct Multiplier::Job {
  const float* x;
  int64_t n_tokens;
  int64_t n_cols;
  kernels::DotOrder order;
};

kernels::DotOrder Multiplier::order(int64_t n_cols, bool as_single) {
  return !as_single && n_cols % 8 == 0 ? kernels::DotOrder::kOne : kernels::DotOrder::kFour;
}

void Multiplier::multiply(const float* x, int64_t n_tokens, bool as_single, std::initializer_list<Product> products) {
  const int64_t n_cols = products.begin()->w->n_cols;
  const Job job{x, n_tokens, n_cols, order(n_cols, as_single)};
  prepare(job, products);

  int64_t n_pieces = 0;
  for (const Product& product : products) n_pieces += n_pieces_of(*product.w, n_tokens);
  pool_.for_each_piece(size(n_pieces), 1, [&](size_t first, size_t, int thread) {
    auto piece = static_cast<int64_t>(first);
    for (const Product& product : products) {
      const int64_t here = n_pieces_of(*product.w, n_tokens);
      if (piece < here) {
        const int64_t rows = rows_in_piece(*product.w, n_tokens);
        multiply_rows(job, product, piece * rows, std::min(product.w->n_rows, (piece + 1) * rows), thread);
        return;
      }
      piece -= here;
    }
  });
}

// Makes those forms of the activations that the products need, one token per piece.
void Multiplier::prepare(const Job& job, std::initializer_list<Product> products) {
  bool integers = false;
  bool halves = false;
  for (const Product& product : products) {
    TERN_CHECK(product.w->n_cols == job.n_cols);
    integers |= product.w->encoding == Encoding::kI2S;
    halves |= product.w->encoding == Encoding::kF16 && job.order == kernels::DotOrder::kFour;
  }
  const size_t n = size(job.n_tokens * job.n_cols);
  if (integers) {
    q_.resize(std::max(q_.size(), n));
    row_rounding_.resize(std::max(row_rounding_.size(), size(job.n_tokens)));
  }
  if (halves) {
    halved_.resize(std::max(halved_.size(), n));
  }
  pool_.for_each_piece(size(job.n_tokens), 1, [&](size_t t, size_t, int) {
    const size_t n_cols = size(job.n_cols);
    if (integers) {
      row_rounding_[t] = table_.round_activations(job.x + t * n_cols, n_cols, rounding_, q_.data() + t * n_cols);
    }
    if (halves) {
      table_.round_to_half(job.x + t * n_cols, n_cols, halved_.data() + t * n_cols);
    }
  });
  factors_.resize(size(pool_.n_threads()));
}

void Multiplier::multiply_rows(const Job& job, const Product& product, int64_t begin, int64_t end, int thread) {
  const Matrix& w = *product.w;
  const size_t n_cols = size(job.n_cols);
  const size_t n_rows = size(end - begin);
  const size_t n_tokens = size(job.n_tokens);
  const size_t out_stride = size(w.n_rows);
  float* out = product.out + begin;
  const size_t first = size(begin) * n_cols;
  if (w.encoding == Encoding::kF16) {
    const float* x = job.order == kernels::DotOrder::kFour ? halved_.data() : job.x;
    table_.dot_f16(job.order, {w.halves() + first, n_cols, n_rows, x, n_cols, n_tokens, n_cols, out, out_stride});
  } else if (w.encoding == Encoding::kF32) {
    table_.dot_f32(job.order, {w.floats() + first, n_cols, n_rows, job.x, n_cols, n_tokens, n_cols, out, out_stride});
  } else if (w.layout == quant::I2sLayout::kBitnetCpp) {
    table_.ternary_product(
        {w.codes() + first / 4, w.scale, n_rows, n_cols, q_.data(), row_rounding_.data(), n_tokens, out, out_stride});
  } else {
    std::vector<int8_t>& factors = factors_[size(thread)];
    factors.resize(n_cols);
    const size_t row_bytes = size(w.row_bytes());
    for (size_t r = 0; r < n_rows; ++r) {
      const std::span row(w.data + (size(begin) + r) * row_bytes, row_bytes);
      kernels::four_level_product({w.layout, row, q_.data(), row_rounding_.data(), n_tokens, out + r, out_stride},
                                  factors);
    }
  }
}

}  // namespace tern::model
