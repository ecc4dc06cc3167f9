#include "tern/model/greedy_head.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "tern/base/check.h"
#include "tern/model/size.h"

namespace tern::model {
namespace {

constexpr size_t kRowsInPiece = 1024;  // read as eight runs side by side, so long ones are better
constexpr size_t kCandidatesInPiece = 8;
// A row that is read of a mapped file brings its neighbourhood of 64 KB with it: 16 MB for so many.
constexpr size_t kRowsBeforeDone = 256;
constexpr double kMaxInt32 = 2147483647.0;
constexpr double kMaxCode = 127.0;
constexpr double kMaxSquares = 1e60;

// What the sums of squares may be off by: coarsen_row() adds n / 8 + 3 rounded terms, which for n <= 65536 is below
// 5e-4 of the sum and half of that of its root; and what underflows in it is below this.
constexpr float kRootOfSum = 1.0005f;
constexpr float kUnderflow = 1e-18f;
// The same for sums of at most 65536 terms in double.
constexpr double kRootOfDoubleSum = 1.0 + 1e-11;

// How often, at most, a product is rounded on its way into a dot product of `n` terms, its own rounding included: once
// in each step of its lane, then in the sum of 8 lanes (and of four accumulators).
double n_roundings(kernels::DotOrder order, size_t n) {
  return static_cast<double>(order == kernels::DotOrder::kFour ? n / 32 + 5 : n / 8 + 3);
}

}  // namespace

int32_t argmax(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) {
      best = i;
    }
  }
  return static_cast<int32_t>(best);
}

struct GreedyHead::Activations {
  double step = 0;         // h = step * g + rest
  double norm = 0;         // upper bound of |h|
  double rest_norm = 0;    // upper bound of |rest|
  double n_roundings = 0;  // of the full head's dot product
};

GreedyHead::GreedyHead(const Matrix& head, const kernels::KernelTable& table, ThreadPool& pool, Done done,
                       PageMemory codes)
    : head_(head),
      table_(table),
      pool_(pool),
      done_(std::move(done)),
      codes_(std::move(codes)),
      rows_(size(head.n_rows)),
      h_(size(head.n_cols)),
      g_(size(head.n_cols)),
      upper_(size(head.n_rows)),
      products_(size(pool.n_threads())) {}

Result<std::unique_ptr<GreedyHead>> GreedyHead::copy(const Matrix& head, const kernels::KernelTable& table,
                                                     ThreadPool& pool, Done done) {
  if (head.format != &quant::kF16 || head.n_cols % 32 != 0 || head.n_cols > 65536) {
    return nullptr;
  }
  const size_t n_rows = size(head.n_rows);
  TERN_ASSIGN_OR_RETURN(PageMemory codes, PageMemory::create(n_rows * size(head.n_cols), "copy of the head"));
  std::unique_ptr<GreedyHead> copy(new GreedyHead(head, table, pool, std::move(done), std::move(codes)));
  std::atomic<bool> finite = true;
  pool.for_each_piece(n_rows, kRowsInPiece, [&](size_t begin, size_t end, int) {
    if (!copy->copy_rows(begin, end)) {
      finite.store(false, std::memory_order_relaxed);
    }
    copy->done_(head.data.subspan(begin * head.row_bytes(), (end - begin) * head.row_bytes()));
  });
  if (!finite.load()) {
    return nullptr;
  }
  return copy;
}

// False where a weight is not finite.
bool GreedyHead::copy_rows(size_t begin, size_t end) {
  const size_t n = size(head_.n_cols);
  auto* codes = reinterpret_cast<int8_t*>(codes_.bytes().data());
  bool finite = true;
  for (size_t r = begin; r < end; ++r) {
    const kernels::CoarseRow row = table_.coarsen_row(head_.halves() + r * n, n, codes + r * n);
    const float error = std::sqrt(row.squared_error) * kRootOfSum + kUnderflow;
    rows_[r] = {row.scale, error, std::sqrt(row.squared_norm) * kRootOfSum + error};
    finite &= std::isfinite(row.squared_norm) && std::isfinite(row.squared_error);
  }
  return finite;
}

// False where there is nothing to round.
bool GreedyHead::round(const float* x, kernels::DotOrder order, Activations& activations) {
  const size_t n = h_.size();
  if (order == kernels::DotOrder::kFour) {
    table_.round_to_half(x, n, h_.data());
  } else {
    std::copy_n(x, n, h_.data());
  }
  double largest = 0;
  double squares = 0;
  for (const float value : h_) {
    largest = std::max(largest, std::abs(static_cast<double>(value)));
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  // Beyond the limit a logit could overflow float32, which no bound covers.
  if (!(squares < kMaxSquares) || !(largest > 0)) {
    return false;
  }
  // Large enough to round finely, small enough that no integer product of a row can leave 32 bits.
  const double limit = std::min(32767.0, std::floor(kMaxInt32 / (kMaxCode * static_cast<double>(n))));
  activations.step = largest / limit;
  double rest_squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const double value = static_cast<double>(h_[i]);
    const double rounded = std::clamp(std::nearbyint(value / activations.step), -limit, limit);
    const double rest = value - activations.step * rounded;
    g_[i] = static_cast<int16_t>(rounded);
    rest_squares += rest * rest;
  }
  activations.norm = std::sqrt(squares) * kRootOfDoubleSum;
  // step * rounded is itself rounded, by less than largest * 2^-52 for each of n elements.
  activations.rest_norm = std::sqrt(rest_squares) * kRootOfDoubleSum + largest * 0x1p-52 * static_cast<double>(n);
  activations.n_roundings = n_roundings(order, n);
  return true;
}

// Fills upper_ of these rows and returns the largest of their lower bounds.
double GreedyHead::bound_rows(const Activations& activations, size_t begin, size_t end,
                              std::vector<int32_t>& products) {
  const size_t n = h_.size();
  products.resize(kRowsInPiece);
  const auto* codes = reinterpret_cast<const int8_t*>(codes_.bytes().data());
  table_.coarse_product({codes + begin * n, end - begin, n, g_.data(), products.data()});
  const double unit = 0x1p-24;
  const double gamma = activations.n_roundings * unit / (1 - activations.n_roundings * unit);
  const double per_norm = activations.rest_norm + gamma * activations.norm;
  double largest_lower = -std::numeric_limits<double>::infinity();
  for (size_t r = begin; r < end; ++r) {
    const Row& row = rows_[r];
    const double middle = static_cast<double>(row.scale) * activations.step * static_cast<double>(products[r - begin]);
    // The last two terms: the roundings of `middle` and of this line, and what underflows in float32.
    const double radius =
        (static_cast<double>(row.error) * activations.norm + static_cast<double>(row.norm) * per_norm) * (1 + 1e-12) +
        std::abs(middle) * 1e-12 + 1e-38;
    upper_[r] = middle + radius;
    largest_lower = std::max(largest_lower, middle - radius);
  }
  return largest_lower;
}

void GreedyHead::find_candidates(const Activations& activations) {
  largest_lower_.resize((upper_.size() + kRowsInPiece - 1) / kRowsInPiece);
  pool_.for_each_piece(upper_.size(), kRowsInPiece, [&](size_t begin, size_t end, int thread) {
    largest_lower_[begin / kRowsInPiece] = bound_rows(activations, begin, end, products_[size(thread)]);
  });
  const double least = *std::max_element(largest_lower_.begin(), largest_lower_.end());
  candidates_.clear();
  for (size_t r = 0; r < upper_.size(); ++r) {
    if (upper_[r] >= least) {
      candidates_.push_back(static_cast<int32_t>(r));
    }
  }
}

std::optional<int32_t> GreedyHead::best(const float* x, kernels::DotOrder order) {
  Activations activations;
  if (!round(x, order, activations)) {
    return std::nullopt;
  }
  find_candidates(activations);
  TERN_CHECK(!candidates_.empty());
  const size_t n = h_.size();
  logits_.resize(candidates_.size());
  pool_.for_each_piece(candidates_.size(), kCandidatesInPiece, [&](size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; ++i) {
      const uint16_t* row = head_.halves() + size(candidates_[i]) * n;
      table_.dot_f16(order, {row, n, 1, h_.data(), n, 1, n, &logits_[i], 1});
    }
  });
  n_rows_read_ += candidates_.size();
  if (n_rows_read_ > kRowsBeforeDone) {
    done_(head_.data);
    n_rows_read_ = 0;
  }
  return candidates_[static_cast<size_t>(argmax(logits_))];
}

}  // namespace tern::model
