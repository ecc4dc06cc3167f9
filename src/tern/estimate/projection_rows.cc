// Outputs of a product that come from other rows: of the same matrix, of its siblings or of another layer, or
// from none.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"
#include "tern/estimate/site.h"

namespace tern::estimate {
namespace {

using Rows = std::vector<size_t>;

constexpr double kRowsAndNumber = 0.55;  // less simple than the number for all rows

// Where each output of the stage came from.
struct Source {
  const gguf::Tensor* tensor = nullptr;  // null: it is zero
  size_t row = 0;
  double factor = 1;
};
using Sources = std::map<size_t, Source>;  // by output; those that are right are left out

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

std::string rows_text(const Rows& rows) {
  const bool is_run = rows.size() > 1 && rows.back() - rows.front() + 1 == rows.size();
  return rows.size() == 1 ? fmt::format("row {}", rows[0])
         : is_run         ? fmt::format("rows {} to {}", rows.front(), rows.back())
                          : fmt::format("{} rows, the first {},", rows.size(), rows.front());
}

Json rows_parameters(const Product& product, const Rows& rows) {
  return {{"rows", rows}, {"weight", std::string(product.weight->name)}};
}

Rows keys_of(const Sources& sources) {
  Rows rows;
  for (const auto& [row, source] : sources) {
    rows.push_back(row);
  }
  return rows;
}

Matrix with_zero_rows(Matrix y, const Rows& rows) {
  for (size_t t = 0; t < y.n_tokens; ++t) {
    for (const size_t row : rows) {
      y.row(t)[row] = 0;
    }
  }
  return y;
}

// Only the stage of this name, whichever layer, where its weight has as many rows.
ProductRule same_stage(const StageFacts& facts, const Product& product, ProductRule rule) {
  return [stage = facts.id().stage, n_rows = product.weight->n_rows(), rule = std::move(rule)](
             const Product& at, const StageFacts& there) {
    return there.id().stage == stage && at.weight->n_rows() == n_rows ? rule(at, there) : std::nullopt;
  };
}

void propose_zero_rows(const StageFacts& facts, const Product& product, const Rows& rows, Proposals& proposals) {
  const bool is_tail = rows.back() + 1 == product.weight->n_rows() && rows.back() - rows.front() + 1 == rows.size();
  proposals.push_back(propose("weight_rows", rows_parameters(product, rows),
                              is_tail ? fmt::format("the rows of {} from {} on are missing: their outputs are zero",
                                                    product.weight->name, rows.front())
                                      : fmt::format("{} of {} give zero", rows_text(rows), product.weight->name),
                              0.7, same_stage(facts, product, [rows](const Product&, const StageFacts& there) {
                                return with_zero_rows(there.should(), rows);
                              })));
}

// RMS alone tells how many rows there are, if those that are missing are the last ones.
void propose_missing_tail(const StageFacts& facts, const Product& product, Proposals& proposals) {
  const Matrix& should = facts.should();
  const double wanted = *facts.rms() * *facts.rms() * static_cast<double>(should.values.size());
  std::vector<double> by_column(should.n_features);
  for (size_t t = 0; t < should.n_tokens; ++t) {
    for (size_t c = 0; c < should.n_features; ++c) {
      by_column[c] += should.row(t)[c] * should.row(t)[c];
    }
  }
  double sum = 0;
  std::pair<double, size_t> best{INFINITY, 0};
  for (size_t n = 1; n < should.n_features; ++n) {
    sum += by_column[n - 1];
    best = std::min(best, {std::abs(sum - wanted), n});
  }
  Rows rows;
  for (size_t row = best.second; row < should.n_features; ++row) {
    rows.push_back(row);
  }
  if (!rows.empty() && *facts.rms() > 0 && best.second > 0) {
    propose_zero_rows(facts, product, rows, proposals);
    proposals.back().simplicity = kNumberMeasured;
  }
}

// The rule "where the row is `from`, row `to` is read" of a matrix of heads, each of `head_dim` rows.
std::optional<std::vector<size_t>> order_of_heads(const std::vector<size_t>& read, size_t head_dim) {
  std::vector<size_t> order;
  for (size_t row = 0; row < read.size(); ++row) {
    if (read[row] % head_dim != row % head_dim || (row % head_dim > 0 && read[row] != read[row - 1] + 1)) {
      return std::nullopt;
    }
    if (row % head_dim == 0) {
      order.push_back(read[row] / head_dim);
    }
  }
  return order;
}

// One of the two reorderings within heads that converters make.
bool is_pair_order(const std::vector<size_t>& read, size_t head_dim, bool undone) {
  for (size_t row = 0; row < read.size(); ++row) {
    const size_t i = row % head_dim, half = head_dim / 2;
    const size_t taken = undone ? (i < half ? 2 * i : 2 * (i - half) + 1) : i % 2 * half + i / 2;
    if (read[row] != row - i + taken) {
      return false;
    }
  }
  return true;
}

std::vector<size_t> pair_order(size_t n_rows, size_t head_dim, bool undone) {
  std::vector<size_t> read(n_rows);
  for (size_t row = 0; row < n_rows; ++row) {
    const size_t i = row % head_dim, half = head_dim / 2;
    read[row] = row - i + (undone ? (i < half ? 2 * i : 2 * (i - half) + 1) : i % 2 * half + i / 2);
  }
  return read;
}

Matrix reordered(const Matrix& y, const std::vector<size_t>& read) {
  Matrix out(y.n_tokens, y.n_features);
  for (size_t t = 0; t < y.n_tokens; ++t) {
    for (size_t row = 0; row < read.size(); ++row) {
      out.row(t)[row] = y.row(t)[read[row]];
    }
  }
  return out;
}

Proposal pair_order_proposal(const Product& product, size_t head_dim, bool undone) {
  return propose("qk_row_permutation", {{"undone", undone}, {"weight", std::string(product.weight->name)}},
                 fmt::format("the rows of {} are {} within each head", product.weight->name,
                             undone ? "put back into neighbouring pairs" : "reordered from neighbours to halves"),
                 1, [=](const Product&, const StageFacts& there) -> std::optional<Matrix> {
                   const trace::Stage stage = there.id().stage;
                   const bool is_turned = stage == trace::Stage::kQProj || stage == trace::Stage::kKProj;
                   return is_turned ? std::optional(reordered(there.should(),
                                                              pair_order(there.should().n_features, head_dim, undone)))
                                    : std::nullopt;
                 });
}

// All wrong rows are rows of the same matrix.
void propose_own_rows(const StageFacts& facts, const Product& product, const Sources& sources, Proposals& proposals) {
  std::vector<size_t> read(product.weight->n_rows());
  std::iota(read.begin(), read.end(), 0);
  for (const auto& [row, source] : sources) {
    read[row] = source.row;
  }
  const auto head_dim = static_cast<size_t>(facts.steps().hyperparameters().head_dim);
  const trace::Stage stage = facts.id().stage;
  const bool has_heads =
      stage == trace::Stage::kQProj || stage == trace::Stage::kKProj || stage == trace::Stage::kVProj;
  if (has_heads && stage != trace::Stage::kVProj) {
    for (const bool undone : {false, true}) {
      if (is_pair_order(read, head_dim, undone)) {
        proposals.push_back(pair_order_proposal(product, head_dim, undone));
        return;
      }
    }
  }
  const auto rule = same_stage(
      facts, product, [read](const Product&, const StageFacts& there) { return reordered(there.should(), read); });
  if (const auto order = has_heads ? order_of_heads(read, head_dim) : std::nullopt) {
    proposals.push_back(propose(
        "head_order", {{"order", *order}, {"weight", std::string(product.weight->name)}},
        fmt::format("the heads of {} are in the order {}", product.weight->name, fmt::join(*order, ", ")), 0.9, rule));
    return;
  }
  Json parameters = rows_parameters(product, keys_of(sources));
  Rows from;
  for (const auto& [row, source] : sources) {
    from.push_back(source.row);
  }
  parameters["read"] = from;
  const auto first = sources.begin();
  const auto n_rows = static_cast<int64_t>(product.weight->n_rows());
  const auto shift = [&](const auto& entry) {
    return (static_cast<int64_t>(entry.second.row) - static_cast<int64_t>(entry.first) + n_rows) % n_rows;
  };
  const bool is_shift = sources.size() > 2 && std::all_of(sources.begin(), sources.end(), [&](const auto& entry) {
                          return shift(entry) == shift(*first);
                        });
  if (is_shift) {
    const int64_t by = 2 * shift(*first) > n_rows ? shift(*first) - n_rows : shift(*first);
    parameters["offset"] = by;
    proposals.push_back(
        propose("weight_rows", std::move(parameters),
                fmt::format("{} of {} are read {} rows off", rows_text(keys_of(sources)), product.weight->name, by),
                0.8, rule));
    return;
  }
  proposals.push_back(
      propose("weight_rows", std::move(parameters),
              fmt::format("{} of {} hold other rows of it: row {} is read where {} should be",
                          rows_text(keys_of(sources)), product.weight->name, first->second.row, first->first),
              0.7, rule));
}

// The tensor that takes the place of another: in the same layer of every layer, or in one layer that of another, and
// the other way round.
ProductRule exchanged(const gguf::Tensor& own, const gguf::Tensor& other) {
  return [own_name = std::string(own.name), other_name = std::string(other.name)](
             const Product& at, const StageFacts& there) -> std::optional<Matrix> {
    const auto a = layer_tensor(own_name), b = layer_tensor(other_name), here = layer_tensor(at.weight->name);
    std::string read = at.weight->name == own_name ? other_name : at.weight->name == other_name ? own_name : "";
    if (read.empty() && a && b && here && a->layer == b->layer) {
      read = here->stem == a->stem ? here->sibling(b->stem) : here->stem == b->stem ? here->sibling(a->stem) : "";
    }
    const auto* tensor = read.empty() ? nullptr : there.steps().view().find_tensor(read);
    if (tensor == nullptr || tensor->dims != at.weight->dims) {
      return std::nullopt;
    }
    return there.steps().project(at.x, *tensor);
  };
}

void propose_mixed_rows(const Product& product, const Sources& sources, Proposals& proposals) {
  Json parameters = rows_parameters(product, keys_of(sources));
  std::set<std::string> tensors;
  Json read = Json::array();
  for (const auto& [row, source] : sources) {
    read.push_back(source.tensor == nullptr ? Json("zero") : Json(source.row));
    tensors.insert(source.tensor == nullptr ? "zero" : std::string(source.tensor->name));
  }
  parameters["read"] = std::move(read);
  parameters["from"] = tensors;
  // The right rows, times a number.
  const bool is_factor = std::all_of(sources.begin(), sources.end(), [&](const auto& entry) {
    return entry.second.tensor == product.weight && entry.second.row == entry.first;
  });
  const double factor = sources.begin()->second.factor;
  const bool is_sign = is_factor && std::abs(factor + 1) < 1e-4;
  if (is_factor) {
    parameters = rows_parameters(product, keys_of(sources));
    parameters["factor"] = is_sign ? -1 : factor;
  }
  const char* const verb = sources.size() == 1 ? "is" : "are";
  std::string says = is_sign
                         ? fmt::format("{} of {} {} negated", rows_text(keys_of(sources)), product.weight->name, verb)
                     : is_factor ? fmt::format("{} of {} {} multiplied with {:.6g}", rows_text(keys_of(sources)),
                                               product.weight->name, verb, factor)
                                 : fmt::format("{} of {} come from {}", rows_text(keys_of(sources)),
                                               product.weight->name, fmt::join(tensors, " and "));
  const double simplicity = tensors.size() > 1 ? kTableMeasured : is_factor ? kRowsAndNumber : kNumberMeasured;
  proposals.push_back(
      propose(is_sign ? "weight_sign" : "weight_rows", std::move(parameters), std::move(says), simplicity,
              only_of(*product.weight, [sources](const Product& at, const StageFacts& there) -> std::optional<Matrix> {
                Matrix y = there.should();
                std::map<const gguf::Tensor*, std::pair<Rows, std::vector<uint64_t>>> by_tensor;
                for (const auto& [row, source] : sources) {
                  by_tensor[source.tensor].first.push_back(row);
                  by_tensor[source.tensor].second.push_back(source.row);
                }
                for (const auto& [tensor, rows] : by_tensor) {
                  if (tensor == nullptr) {
                    y = with_zero_rows(std::move(y), rows.first);
                    continue;
                  }
                  const Matrix part = multiply_rows(there.steps().rounded_input(at.x, *tensor), *tensor, rows.second);
                  for (size_t t = 0; t < y.n_tokens; ++t) {
                    for (size_t i = 0; i < rows.first.size(); ++i) {
                      y.row(t)[rows.first[i]] = sources.at(rows.first[i]).factor * part.row(t)[i];
                    }
                  }
                }
                return y;
              })));
}

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
    const Sources zeros = sources_;
    look_in(*product_.weight, first_tokens(facts_.should(), kTokens), sources_);
    if (left_.empty() && zeros.empty()) {
      propose_own_rows(facts_, product_, sources_, proposals);
      return;
    }
    for (const gguf::Tensor* other : others()) {
      if (left_.empty()) {
        break;
      }
      Sources found = sources_;
      const std::set<size_t> left = left_;
      const Matrix x = first_tokens(product_.x, kTokens);
      look_in(*other, facts_.steps().project(x, *other), found);
      const bool is_whole = std::all_of(found.begin(), found.end(), [&](const auto& entry) {
        return entry.second.tensor == other && entry.second.row == entry.first;
      });
      if (left_.empty() && is_whole && 2 * n_wrong > product_.weight->n_rows() &&
          other->dims == product_.weight->dims) {
        proposals.push_back(propose(
            "weights_swapped", {{"weight", std::string(product_.weight->name)}, {"read", std::string(other->name)}},
            fmt::format("{} is read in the place of {}", other->name, product_.weight->name), 0.9,
            exchanged(*product_.weight, *other)));
        return;
      }
      // A chance hit in a foreign matrix explains a row or two.
      const bool helps = (left.size() - left_.size()) * 4 >= left.size();
      sources_ = helps ? found : sources_;
      left_ = helps ? left_ : left;
    }
    find_factors();
    if (left_.empty()) {
      propose_mixed_rows(product_, sources_, proposals);
    }
  }

 private:
  static constexpr size_t kTokens = 8;  // tell rows apart

  void found(size_t column, const Source& source, Sources& sources) {
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

  void look_in(const gguf::Tensor& tensor, const Matrix& outputs, Sources& sources) {
    const ColumnIndex index(outputs, 2 * facts_.rounding() + 1e-6 * rms_of(outputs));
    for (const size_t column : std::set<size_t>(left_)) {
      if (const auto row = index.find(is_, column, &tensor == product_.weight ? SIZE_MAX : column)) {
        found(column, {&tensor, *row}, sources);
      }
    }
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
  Sources sources_;
};

// What changes neither a sum of squares much, nor is seen in it: for a side of which only RMS is known.
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
      proposals.push_back(propose("weights_swapped",
                                  {{"weight", std::string(product.weight->name)}, {"read", std::string(other.name)}},
                                  fmt::format("{} is read in the place of {}", other.name, product.weight->name), 0.9,
                                  exchanged(*product.weight, other)));
    }
  }
}

}  // namespace

void propose_rows(const StageFacts& facts, const Product& product, Proposals& proposals) {
  if (facts.is()) {
    RowSearch(facts, product).run(proposals);
  } else if (facts.rms()) {
    propose_blindly(facts, product, proposals);
    if (*facts.rms() < (1 - 1e-5) * rms_of(facts.should())) {
      propose_missing_tail(facts, product, proposals);
    }
  }
}

}  // namespace tern::estimate
