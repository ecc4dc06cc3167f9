// Products with a weight matrix. Ternary weights and int8 activations are small whole numbers, whose products add up to
// the same number in any order and in any type that holds them: they are added as integers, many at a time, and come
// out as dot() would give them, to the bit.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tern/base/thread_pool.h"
#include "tern/oracle/oracle.h"

namespace tern::oracle {
namespace {

using WholeNumbers = std::vector<int16_t>;

// False where one is no whole number, or larger than that.
bool read_whole_numbers(std::span<const double> from, double largest, WholeNumbers& to) {
  to.resize(from.size());
  bool whole = true;
  for (size_t i = 0; i < from.size(); ++i) {
    const double value = std::abs(from[i]) <= largest ? from[i] : 0;
    to[i] = static_cast<int16_t>(value);
    whole = whole && static_cast<double>(to[i]) == from[i];
  }
  return whole;
}

int32_t whole_dot(const int16_t* a, const int16_t* b, size_t n) {
  int32_t sum = 0;
  for (size_t i = 0; i < n; ++i) {
    sum += int32_t{a[i]} * int32_t{b[i]};
  }
  return sum;
}

// Fewer products are not worth a thread.
constexpr size_t kLeastPerThread = size_t{1} << 22;
constexpr size_t kRowsAtOnce = 64;

}  // namespace

Oracle::Matrix Oracle::product(const Matrix& x, std::span<const double> units, const gguf::Tensor& weight,
                               uint64_t n_rows, const RowOf& row_of, int n_threads) const {
  WholeNumbers inputs;
  const bool has_whole_inputs = adds_exactly(x.n_features) && read_whole_numbers(x.values, kLargestWholeInput, inputs);
  Matrix y(x.n_tokens, n_rows);
  const auto multiply = [&](size_t begin, size_t end, int) {
    WeightRow row;
    WholeNumbers weights;
    for (size_t r = begin; r < end; ++r) {
      row_of(r, row);
      const bool whole = has_whole_inputs && row.weights.size() == x.n_features &&
                         read_whole_numbers(row.weights, kLargestWholeWeight, weights);
      for (size_t t = 0; t < x.n_tokens; ++t) {
        const double sum = whole ? whole_dot(weights.data(), inputs.data() + t * x.n_features, x.n_features)
                                 : dot(weight, row.weights, x.row(t));
        y.row(t)[r] = scaled(sum, row.scale, units[t]);
      }
    }
  };
  const size_t n_products = n_rows * x.values.size();
  ThreadPool(n_products / kLeastPerThread == 0 ? 1 : n_threads).for_each_piece(n_rows, kRowsAtOnce, multiply);
  return y;
}

}  // namespace tern::oracle
