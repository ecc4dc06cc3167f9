#include "tern/model/multiply.h"

#include <algorithm>

#include "tern/base/check.h"
#include "tern/kernels/four_level.h"
#include "tern/model/size.h"
#include "tern/quant/i2s.h"

namespace tern::model {
namespace {

using quant::Encoding;

// What one thread takes at a time of a product with one token. Kernels read a piece as eight runs side by side, so it
// is best as large as this; but each thread should have one, as long as a piece is worth a thread's while.
constexpr int64_t kBytesForOneToken = 800 << 10;
constexpr int64_t kLeastBytesForOneToken = 160 << 10;
// Of floats with a batch: few enough rows that they stay in the second-level cache while all tokens pass by.
constexpr int64_t kFloatRowsForBatch = 64;
constexpr int64_t kMultipleOfRows = 8;  // what kernels take at once

int64_t pieces(int64_t n, int64_t in_piece) { return (n + in_piece - 1) / in_piece; }

// A product, cut into pieces of rows and of tokens.
struct Cut {
  int64_t rows;
  int64_t tokens;
  int64_t n_row_pieces;
  int64_t n_pieces;

  Cut(const Matrix& w, int64_t n_tokens, const kernels::KernelTable& table, int n_threads)
      : rows(kFloatRowsForBatch), tokens(n_tokens) {
    if (n_tokens == 1) {
      const int64_t n_bytes = w.n_rows * w.row_bytes();
      const int64_t most = pieces(n_bytes, kLeastBytesForOneToken);
      const int64_t wanted = std::min(most, std::max(int64_t{n_threads}, n_bytes / kBytesForOneToken));
      rows = pieces(pieces(w.n_rows, wanted), kMultipleOfRows) * kMultipleOfRows;
    } else if (w.encoding == Encoding::kI2S) {
      tokens = std::min(n_tokens, static_cast<int64_t>(table.ternary_piece.n_tokens));
      rows = static_cast<int64_t>(table.ternary_piece.n_rows);
      // Few tokens: more pieces of rows, so that every thread has work and none waits long for the last.
      const int64_t wanted = pieces(2 * int64_t{n_threads}, pieces(n_tokens, tokens));
      const int64_t even = pieces(pieces(w.n_rows, wanted), kMultipleOfRows) * kMultipleOfRows;
      rows = std::min(rows, even);
    }
    n_row_pieces = pieces(w.n_rows, rows);
    n_pieces = n_row_pieces * pieces(n_tokens, tokens);
  }
};

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

  const int n_threads = pool_.n_threads();
  int64_t n_pieces = 0;
  for (const Product& product : products) n_pieces += Cut(*product.w, n_tokens, table_, n_threads).n_pieces;
  pool_.for_each_piece(size(n_pieces), 1, [&](size_t first, size_t, int thread) {
    auto piece = static_cast<int64_t>(first);
    for (const Product& product : products) {
      const Cut cut(*product.w, n_tokens, table_, n_threads);
      if (piece < cut.n_pieces) {
        const int64_t row = piece % cut.n_row_pieces * cut.rows;
        const int64_t token = piece / cut.n_row_pieces * cut.tokens;
        multiply_part(job, product,
                      {.row = row,
                       .n_rows = std::min(product.w->n_rows - row, cut.rows),
                       .token = token,
                       .n_tokens = std::min(n_tokens - token, cut.tokens)},
                      thread);
        return;
      }
      piece -= cut.n_pieces;
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

void Multiplier::multiply_part(const Job& job, const Product& product, const Part& part, int thread) {
  const Matrix& w = *product.w;
  const size_t n_cols = size(job.n_cols);
  const size_t n_rows = size(part.n_rows);
  const size_t n_tokens = size(part.n_tokens);
  const size_t out_stride = size(w.n_rows);
  float* out = product.out + size(part.token) * out_stride + part.row;
  const size_t first = size(part.row) * n_cols;
  const size_t first_of_token = size(part.token) * n_cols;
  const int8_t* q = q_.data() + first_of_token;
  const kernels::RowRounding* rounding = row_rounding_.data() + part.token;
  if (w.encoding == Encoding::kF16) {
    const float* x = (job.order == kernels::DotOrder::kFour ? halved_.data() : job.x) + first_of_token;
    dot_products<uint16_t>(table_.dot_f16, job.order,
                           {w.halves() + first, n_cols, n_rows, x, n_cols, n_tokens, n_cols, out, out_stride});
  } else if (w.encoding == Encoding::kF32) {
    dot_products<float>(
        table_.dot_f32, job.order,
        {w.floats() + first, n_cols, n_rows, job.x + first_of_token, n_cols, n_tokens, n_cols, out, out_stride});
  } else if (w.layout == quant::I2sLayout::kBitnetCpp) {
    table_.ternary_product({w.codes() + first / 4, w.scale, n_rows, n_cols, q, rounding, n_tokens, out, out_stride});
  } else {
    std::vector<int8_t>& factors = factors_[size(thread)];
    factors.resize(n_cols);
    const size_t row_bytes = size(w.row_bytes());
    for (size_t r = 0; r < n_rows; ++r) {
      const std::span row(w.data + (size(part.row) + r) * row_bytes, row_bytes);
      kernels::four_level_product({w.layout, row, q, rounding, n_tokens, out + r, out_stride}, factors);
    }
  }
}

}  // namespace tern::model
