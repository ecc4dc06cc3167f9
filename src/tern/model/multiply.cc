#include "tern/model/multiply.h"

#include <algorithm>

#include "tern/base/check.h"
#include "tern/model/product_kernels.h"
#include "tern/model/size.h"

namespace tern::model {
namespace {

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
      const auto n_bytes = static_cast<int64_t>(w.data.size() - w.format->tail_bytes);
      const int64_t most = pieces(n_bytes, kLeastBytesForOneToken);
      const int64_t wanted = std::min(most, std::max(int64_t{n_threads}, n_bytes / kBytesForOneToken));
      rows = pieces(pieces(w.n_rows, wanted), kMultipleOfRows) * kMultipleOfRows;
    } else if (product_kernel(*w.format).in_ternary_pieces) {
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

// The activations rounded by one rule, [n_tokens, n_cols].
AlignedVector<float>& Multiplier::rounded_by(const quant::ActivationRule& rule) {
  for (RoundedActivations& rounded : rounded_) {
    if (rounded.rule == &rule) {
      return rounded.values;
    }
  }
  return rounded_.emplace_back(RoundedActivations{&rule, {}}).values;
}

// Makes those forms of the activations that the products need, one token per piece.
void Multiplier::prepare(const Job& job, std::initializer_list<Product> products) {
  bool integers = false;
  std::vector<const quant::ActivationRule*> rules;
  for (const Product& product : products) {
    const Matrix& w = *product.w;
    TERN_CHECK(w.n_cols == job.n_cols);
    integers |= product_kernel(*w.format).activations == ActivationForm::kInt8;
    const quant::ActivationRule* rule = rule_for(job, w);
    if (rule != nullptr && std::find(rules.begin(), rules.end(), rule) == rules.end()) {
      rules.push_back(rule);
    }
  }
  const size_t n_cols = size(job.n_cols);
  const size_t n = size(job.n_tokens) * n_cols;
  const auto grow = [](auto& buffer, size_t n_elements) { buffer.resize(std::max(buffer.size(), n_elements)); };
  if (integers) {
    grow(q_, n);
    grow(row_rounding_, size(job.n_tokens));
  }
  for (const quant::ActivationRule* rule : rules) {
    grow(rounded_by(*rule), n);
  }
  pool_.for_each_piece(size(job.n_tokens), 1, [&](size_t t, size_t, int) {
    const float* x = job.x + t * n_cols;
    if (integers) {
      row_rounding_[t] = table_.round_activations(x, n_cols, rounding_, q_.data() + t * n_cols);
    }
    for (const quant::ActivationRule* rule : rules) {
      float* rounded = rounded_by(*rule).data() + t * n_cols;
      round_by_rule(table_, *rule, {x, n_cols}, {rounded, n_cols});
    }
  });
  scratch_.resize(size(pool_.n_threads()));
}

// The rule that rounds float activations in front of these weights; null: none.
const quant::ActivationRule* Multiplier::rule_for(const Job& job, const Matrix& w) {
  switch (product_kernel(*w.format).activations) {
    case ActivationForm::kByRule:
      return w.format->activations;
    case ActivationForm::kHalfForSingleToken:
      return job.order == kernels::DotOrder::kFour ? w.format->activations : nullptr;
    case ActivationForm::kFloat:
    case ActivationForm::kInt8:
      break;
  }
  return nullptr;
}

void Multiplier::multiply_part(const Job& job, const Product& product, const Part& part, int thread) {
  const Matrix& w = *product.w;
  const size_t first = size(part.token) * size(job.n_cols);
  const quant::ActivationRule* rule = rule_for(job, w);
  const size_t out_stride = size(w.n_rows);
  product_kernel(*w.format).run(table_, {.w = w,
                                         .row = size(part.row),
                                         .n_rows = size(part.n_rows),
                                         .n_tokens = size(part.n_tokens),
                                         .order = job.order,
                                         .x = (rule == nullptr ? job.x : rounded_by(*rule).data()) + first,
                                         .q = q_.data() + first,
                                         .rounding = row_rounding_.data() + part.token,
                                         .out = product.out + size(part.token) * out_stride + part.row,
                                         .out_stride = out_stride,
                                         .scratch = scratch_[size(thread)]});
}

}  // namespace tern::model
