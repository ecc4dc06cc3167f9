// Outputs of a product that come from other rows (of the same matrix, of a sibling or of another layer), or from none.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "tern/estimate/common_ratio.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"
#include "tern/estimate/row_proposals.h"
#include "tern/estimate/site.h"
#include "tern/estimate/weight_map.h"

namespace tern::estimate {
namespace {

// Finds the column of a matrix that a given one equals.
class ColumnIndex {
 public:
  ColumnIndex(const Matrix& columns, double tolerance) : columns_(columns), tolerance_(tolerance) {
    order_.resize(columns.n_features);
    std::iota(order_.begin(), order_.end(), 0);
    double largest = -1;
    for (size_t t = 0; t < columns.n_tokens; ++t) {
      const auto row = columns.row(t);
      const double size = std::transform_reduce(row.begin(), row.end(), row.begin(), 0.0);
      if (size > largest) {
        largest = size;
        pivot_ = t;
      }
    }
    std::sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  }

  // `preferred` where that one does, too.
  std::optional<size_t> find(const Matrix& of, size_t column, size_t preferred) const {
    if (preferred < columns_.n_features && equals(of, column, preferred)) {
      return preferred;
    }
    const double wanted = of.row(pivot_)[column];
    const auto from = std::lower_bound(order_.begin(), order_.end(), wanted - tolerance_,
                                       [&](size_t c, double value) { return key(c) < value; });
    for (auto it = from; it != order_.end() && key(*it) <= wanted + tolerance_; ++it) {
      if (equals(of, column, *it)) {
        return *it;
      }
    }
    return std::nullopt;
  }

 private:
  double key(size_t column) const { return columns_.row(pivot_)[column]; }
  bool equals(const Matrix& of, size_t column, size_t own) const {
    for (size_t t = 0; t < columns_.n_tokens; ++t) {
      if (!(std::abs(of.row(t)[column] - columns_.row(t)[own]) <= tolerance_)) {
        return false;
      }
    }
    return true;
  }

  const Matrix& columns_;
  double tolerance_;
  size_t pivot_ = 0;
  std::vector<size_t> order_;
};

class RowSearch {
 public:
  RowSearch(const StageFacts& facts, const Product& product)
      : facts_(facts), product_(product), is_(first_tokens(*facts.is(), kTokens)) {
    for (const size_t column : wrong_outputs(facts)) {
      left_.insert(column);
    }
  }

  void run(Proposals& proposals) {
    const size_t n_wrong = left_.size();
    if (n_wrong == 0) {
      return;
    }
    find_zeros();
    if (left_.empty()) {
      propose_zero_rows(facts_, product_, keys_of(sources_), proposals);
      return;
    }
    const RowSources zeros = sources_;
    look_in_own();
    if (left_.empty() && zeros.empty()) {
      propose_own_rows(facts_, product_, sources_, proposals);
      return;
    }
    const Matrix x = first_tokens(product_.x, kTokens);
    for (const gguf::Tensor* other : others()) {
      if (left_.empty()) {
        break;
      }
      const Matrix outputs = facts_.steps().project(x, *other);
      Attempt attempt = with_rows_of(*other, outputs, kScaleOfRead);
      if (!attempt.helps) {
        const std::vector<size_t> columns(left_.begin(), left_.end());
        const auto ratio = common_ratio(is_, columns, outputs, tolerance(outputs));
        attempt =
            ratio ? with_rows_of(*other, outputs, borrowed_scale(facts_.steps(), product_, *other, *ratio)) : attempt;
      }
      if (attempt.left.empty() && is_whole(attempt.sources, *other) && 2 * n_wrong > product_.weight->n_rows()) {
        propose_swapped(product_, *other, attempt.scale, 0.9, proposals);
        return;
      }
      if (attempt.helps) {
        sources_ = std::move(attempt.sources);
        left_ = std::move(attempt.left);
      }
    }
    find_factors();
    if (left_.empty()) {
      propose_mixed_rows(product_, sources_, proposals);
    }
  }

 private:
  static constexpr size_t kTokens = 8;  // enough to distinguish rows

  void found(size_t column, const RowSource& source, RowSources& sources) {
    sources[column] = source;
    left_.erase(column);
  }

  void find_zeros() {
    for (const size_t column : std::set<size_t>(left_)) {
      bool is_zero = true;
      for (size_t t = 0; t < facts_.is()->n_tokens; ++t) {
        is_zero = is_zero && facts_.is()->row(t)[column] == 0;
      }
      if (is_zero) {
        found(column, {}, sources_);
      }
    }
  }

  double tolerance(const Matrix& outputs) const { return 2 * facts_.rounding() + 1e-6 * rms_of(outputs); }

  void look_in_own() {
    const Matrix outputs = first_tokens(facts_.should(), kTokens);
    const ColumnIndex index(outputs, tolerance(outputs));
    for (const size_t column : std::set<size_t>(left_)) {
      if (const auto row = index.find(is_, column, SIZE_MAX)) {
        found(column, {product_.weight, *row}, sources_);
      }
    }
  }

  // What would be found if rows of another matrix were read, with that scale.
  struct Attempt {
    RowSources sources;
    std::set<size_t> left;
    BorrowedScale scale;
    bool helps;
  };
  Attempt with_rows_of(const gguf::Tensor& other, Matrix outputs, const BorrowedScale& scale) const {
    const double factor = factor_of(facts_.steps(), product_, other, scale);
    for (double& value : outputs.values) {
      value *= factor;
    }
    Attempt attempt{sources_, left_, scale, false};
    const ColumnIndex index(outputs, tolerance(outputs));
    for (const size_t column : left_) {
      if (const auto row = index.find(is_, column, column)) {
        attempt.sources[column] = {&other, *row, factor, scale.of};
        attempt.left.erase(column);
      }
    }
    // A chance hit in a foreign matrix explains a row or two.
    attempt.helps = (left_.size() - attempt.left.size()) * 4 >= left_.size();
    return attempt;
  }
  bool is_whole(const RowSources& sources, const gguf::Tensor& other) const {
    return other.dims == product_.weight->dims && std::all_of(sources.begin(), sources.end(), [&](const auto& entry) {
             return entry.second.tensor == &other && entry.second.row == entry.first;
           });
  }

  // Rows times a number of their own: one for all of them, with more than one token to measure it on.
  void find_factors() {
    if (left_.empty() || facts_.is()->n_tokens < 2) {
      return;
    }
    const std::vector<uint64_t> columns(left_.begin(), left_.end());
    const Matrix is = columns_of(*facts_.is(), columns);
    const Factor factor = best_factor(columns_of(facts_.should(), columns), is);
    if (factor.error < 1e-3) {
      for (const uint64_t column : columns) {
        found(column, {product_.weight, column, factor.factor}, sources_);
      }
    }
  }

  // Siblings in the same layer first, then the same tensor in other layers, then all others that take such an input.
  std::vector<const gguf::Tensor*> others() const {
    std::vector<std::pair<int, const gguf::Tensor*>> ranked;
    const auto own = layer_tensor(product_.weight->name);
    for (const gguf::Tensor& other : facts_.steps().view().tensors()) {
      const auto theirs = layer_tensor(other.name);
      if (&other == product_.weight || !own || !theirs || other.dims.size() != 2 ||
          other.n_cols() != product_.weight->n_cols() || other.format != product_.weight->format) {
        continue;
      }
      ranked.emplace_back(own->layer == theirs->layer ? 0 : own->stem == theirs->stem ? 1 : 2, &other);
    }
    std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<const gguf::Tensor*> tensors;
    for (const auto& [rank, tensor] : ranked) {
      tensors.push_back(tensor);
    }
    return tensors;
  }

  const StageFacts& facts_;
  const Product& product_;
  Matrix is_;
  std::set<size_t> left_;
  RowSources sources_;
};

// Proposals without a figure to solve for, for a side of which only RMS is known: other orders of RoPE's pairs, other
// matrices of the same shape.
void propose_blindly(const StageFacts& facts, const Product& product, Proposals& proposals) {
  const trace::Stage stage = facts.id().stage;
  const auto head_dim = static_cast<size_t>(facts.steps().hyperparameters().head_dim);
  if (stage == trace::Stage::kQProj || stage == trace::Stage::kKProj) {
    proposals.push_back(pair_order_proposal(product, head_dim, false));
    proposals.push_back(pair_order_proposal(product, head_dim, true));
  }
  const auto own = layer_tensor(product.weight->name);
  for (const gguf::Tensor& other : facts.steps().view().tensors()) {
    const auto theirs = layer_tensor(other.name);
    const bool is_sibling = own && theirs && own->layer == theirs->layer;
    const bool is_same = own && theirs && own->stem == theirs->stem;
    if (&other != product.weight && other.dims == product.weight->dims && (is_sibling || is_same)) {
      propose_swapped(product, other, kScaleOfRead, 0.9, proposals);
      if (other.format == product.weight->format && facts.steps().weight_scale(other) != product.scale) {
        propose_swapped(product, other, {ScaleOf::kOwn}, 0.85, proposals);
      }
    }
  }
}

}  // namespace

void propose_rows(const StageFacts& facts, const Product& product, Proposals& proposals) {
  if (facts.is()) {
    RowSearch(facts, product).run(proposals);
  } else if (facts.rms()) {
    propose_blindly(facts, product, proposals);
    for (Proposal& map : usual_weight_maps(facts)) {
      proposals.push_back(std::move(map));
    }
    if (*facts.rms() < (1 - 1e-5) * rms_of(facts.should())) {
      propose_missing_tail(facts, product, proposals);
    }
  }
}

}  // namespace tern::estimate
