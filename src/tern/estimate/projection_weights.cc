// Few weights that are others, down to their coordinates: the error of an output over the tokens is proportional to the
// input feature that met the changed weight. And heads of the input that meet the columns of another head.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tern/estimate/least_squares.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"

namespace tern::estimate {
namespace {

constexpr size_t kMostRows = 16;    // with changed weights; more are another cause
constexpr size_t kMostWeights = 5;  // changed in one row
constexpr double kMuchLess = 0.3;   // of an error must remain, for one more weight to count
// Sets of columns that are looked at further: the more, the fewer columns there are.
constexpr size_t kLeastBeam = 24, kSetsOfColumns = 50'000;

struct Change {
  size_t row = 0, column = 0;
  double delta = 0;
};

// The changes of one row.
struct RowFit {
  std::vector<Change> changes;
  double error = std::numeric_limits<double>::infinity();  // what is left of one value, RMS
  size_t n_alternatives = 0;
};

class WeightSearch {
 public:
  WeightSearch(const StageFacts& facts, const Product& product)
      : facts_(facts), product_(product), input_(facts.steps().rounded_input(product.x, *product.weight)) {
    for (size_t column = 0; column < input_.n_features; ++column) {
      std::vector<double> values;
      for (size_t t = 0; t < input_.n_tokens; ++t) {
        values.push_back(input_.row(t)[column]);
      }
      features_.push_back(std::move(values));
    }
  }

  RowFit fit(size_t row) const {
    std::vector<double> error;
    for (size_t t = 0; t < input_.n_tokens; ++t) {
      error.push_back(facts_.is()->row(t)[row] - facts_.should().row(t)[row]);
    }
    oracle::WeightRow weights;
    oracle::decode_row(*product_.weight, row, weights);
    RowFit found;
    std::vector<std::vector<size_t>> beam = {{}};
    // Fewer unknown numbers than equations, with one to spare.
    for (size_t n = 1; n <= kMostWeights && n < error.size(); ++n) {
      std::vector<RowFit> fits;
      for (const std::vector<size_t>& columns : beam) {
        extend(row, columns, error, fits);
      }
      // A changed code makes a weight of the same kind.
      const auto rank = [&](const RowFit& fit) {
        return std::pair(fit.error <= facts_.rounding() ? 1 + all_are_codes(fit, weights) : 0, -fit.error);
      };
      const size_t n_kept = std::min(std::max(kLeastBeam, kSetsOfColumns / features_.size()), fits.size());
      std::partial_sort(fits.begin(), fits.begin() + static_cast<std::ptrdiff_t>(n_kept), fits.end(),
                        [&](const RowFit& a, const RowFit& b) { return rank(a) > rank(b); });
      const bool fits_better =
          !fits.empty() && rank(fits.front()).first > 0 &&
          (found.changes.empty() || (rank(fits.front()).first == 2 && fits.front().error < kMuchLess * found.error));
      if (fits_better) {
        found = fits.front();
        found.n_alternatives = static_cast<size_t>(std::count_if(fits.begin(), fits.end(), [&](const RowFit& fit) {
          return rank(fit).first == rank(found).first && !have_same_columns(fit, found);
        }));
      } else if (!found.changes.empty()) {
        break;
      }
      beam.clear();
      for (size_t i = 0; i < n_kept; ++i) {
        std::vector<size_t>& columns = beam.emplace_back();
        for (const Change& change : fits[i].changes) {
          columns.push_back(change.column);
        }
      }
    }
    return found;
  }

 private:
  // Fits with one more column.
  void extend(size_t row, const std::vector<size_t>& columns, const std::vector<double>& error,
              std::vector<RowFit>& fits) const {
    std::vector<size_t> with = columns;
    with.push_back(0);
    for (with.back() = 0; with.back() < features_.size(); ++with.back()) {
      if (std::find(columns.begin(), columns.end(), with.back()) == columns.end()) {
        fits.push_back(solved(row, with, error));
      }
    }
  }

  static bool have_same_columns(const RowFit& a, const RowFit& b) {
    const auto has = [&](const Change& change) {
      return std::any_of(b.changes.begin(), b.changes.end(),
                         [&](const Change& other) { return other.column == change.column; });
    };
    return std::all_of(a.changes.begin(), a.changes.end(), has);
  }

  RowFit solved(size_t row, const std::vector<size_t>& columns, const std::vector<double>& error) const {
    std::vector<std::span<const double>> terms;
    for (const size_t column : columns) {
      terms.emplace_back(features_[column]);
    }
    const std::vector<double> deltas = least_squares(terms, error);
    RowFit fit;
    if (deltas.empty()) {
      return fit;
    }
    std::vector<double> left = error;
    for (size_t k = 0; k < columns.size(); ++k) {
      fit.changes.push_back({row, columns[k], deltas[k]});
      for (size_t t = 0; t < left.size(); ++t) {
        left[t] -= deltas[k] * features_[columns[k]][t];
      }
    }
    fit.error = std::sqrt(std::transform_reduce(left.begin(), left.end(), left.begin(), 0.0) /
                          static_cast<double>(left.size()));
    return fit;
  }

  bool all_are_codes(const RowFit& fit, const oracle::WeightRow& weights) const {
    return weights.scale != 1 && std::all_of(fit.changes.begin(), fit.changes.end(), [&](const Change& change) {
             const double now = weights.weights[change.column] + change.delta / weights.scale;
             return std::abs(now - std::nearbyint(now)) < 0.05 && std::abs(now) < 2.5 &&
                    std::abs(change.delta) > 0.5 * std::abs(weights.scale);
           });
  }

  const StageFacts& facts_;
  const Product& product_;
  Matrix input_;
  std::vector<std::vector<double>> features_;  // of each input feature, its values over the tokens
};

Json weights_parameters(const Product& product, std::vector<Change> changes) {
  std::sort(changes.begin(), changes.end(),
            [](const Change& a, const Change& b) { return std::pair(a.row, a.column) < std::pair(b.row, b.column); });
  const auto one = [](const Change& change) {
    return Json{{"row", change.row}, {"column", change.column}, {"delta", change.delta}};
  };
  Json list = Json::array(), rows = Json::array();
  for (const Change& change : changes) {
    list.push_back(one(change));
    if (rows.empty() || rows.back() != change.row) {
      rows.push_back(change.row);
    }
  }
  Json parameters = changes.size() == 1 ? one(changes[0]) : Json{{"weights", std::move(list)}};
  parameters["rows"] = std::move(rows);
  parameters["weight"] = std::string(product.weight->name);
  return parameters;
}

// Of head h of the input, what the columns of head g of the weight give. Only some rows are looked at.
Matrix head_product(const Matrix& input, const gguf::Tensor& weight, std::span<const uint64_t> rows, size_t head_dim,
                    size_t h, size_t g) {
  Matrix y(input.n_tokens, rows.size());
  oracle::WeightRow row;
  for (size_t i = 0; i < rows.size(); ++i) {
    oracle::decode_row(weight, rows[i], row);
    const auto part = std::span(row.weights).subspan(g * head_dim, head_dim);
    for (size_t t = 0; t < input.n_tokens; ++t) {
      const auto x = input.row(t).subspan(h * head_dim, head_dim);
      y.row(t)[i] = row.scale * std::transform_reduce(part.begin(), part.end(), x.begin(), 0.0);
    }
  }
  return y;
}

}  // namespace

void propose_weight_values(const StageFacts& facts, const Product& product, Proposals& proposals) {
  if (!facts.is() || facts.is()->n_tokens < 2) {
    return;
  }
  const std::vector<size_t> rows = wrong_outputs(facts);
  if (rows.empty() || rows.size() > kMostRows) {
    return;
  }
  const WeightSearch search(facts, product);
  std::vector<Change> changes;
  size_t n_alternatives = 0;
  for (const size_t row : rows) {
    const RowFit fit = search.fit(row);
    if (fit.changes.empty()) {
      return;
    }
    changes.insert(changes.end(), fit.changes.begin(), fit.changes.end());
    n_alternatives += fit.n_alternatives;
  }
  const std::string which =
      changes.size() == 1
          ? fmt::format("the weight of {} in row {}, column {} is off by {:.6g}", product.weight->name, changes[0].row,
                        changes[0].column, changes[0].delta)
          : fmt::format("{} weights of {} in {} rows are others, the first in row {}, column {}", changes.size(),
                        product.weight->name, rows.size(), changes[0].row, changes[0].column);
  proposals.push_back(propose(
      "weight_value", weights_parameters(product, changes),
      which + (n_alternatives > 0 ? fmt::format(" (or {} other columns: there are few tokens)", n_alternatives) : ""),
      n_alternatives > 0 ? kFitsAnything : 0.5,
      only_of(*product.weight, [changes](const Product& at, const StageFacts& there) {
        const Matrix input = there.steps().rounded_input(at.x, *at.weight);
        Matrix y = there.should();
        for (size_t t = 0; t < y.n_tokens; ++t) {
          for (const Change& change : changes) {
            y.row(t)[change.row] += change.delta * input.row(t)[change.column];
          }
        }
        return y;
      })));
}

void propose_input_heads(const StageFacts& facts, const Product& product, Proposals& proposals) {
  const oracle::Hyperparameters& hp = facts.steps().hyperparameters();
  const auto n_heads = static_cast<size_t>(hp.n_heads), head_dim = static_cast<size_t>(hp.head_dim);
  if (!facts.is() || facts.id().stage != trace::Stage::kOProj || n_heads < 2 ||
      product.x.n_features != n_heads * head_dim) {
    return;
  }
  const std::vector<uint64_t> rows = spread(product.weight->n_rows(), 128);
  const Matrix input = first_tokens(facts.steps().rounded_input(product.x, *product.weight), 4);
  const Matrix is = first_tokens(columns_of(*facts.is(), rows), 4);
  std::vector<size_t> order;
  bool is_other = false;
  for (size_t h = 0; h < n_heads; ++h) {
    std::pair<double, size_t> best{-INFINITY, 0};
    for (size_t g = 0; g < n_heads; ++g) {
      best = std::max(best, {best_factor(head_product(input, *product.weight, rows, head_dim, h, g), is).factor, g});
    }
    order.push_back(best.second);
    is_other = is_other || best.second != h;
  }
  if (!is_other) {
    return;
  }
  // Head h of the input met the columns of head order[h].
  proposals.push_back(propose(
      "head_order", {{"order", order}, {"weight", std::string(product.weight->name)}},
      fmt::format("the heads of the input meet the columns of {} in the order {}", product.weight->name,
                  fmt::join(order, ", ")),
      kTableMeasured,
      [order, head_dim, stage = facts.id().stage](const Product& at, const StageFacts& there) -> std::optional<Matrix> {
        if (there.id().stage != stage) {
          return std::nullopt;
        }
        Matrix x(at.x.n_tokens, at.x.n_features);
        for (size_t t = 0; t < x.n_tokens; ++t) {
          for (size_t h = 0; h < order.size(); ++h) {
            const auto from = at.x.row(t).subspan(h * head_dim, head_dim);
            std::copy(from.begin(), from.end(), x.row(t).subspan(order[h] * head_dim, head_dim).begin());
          }
        }
        return there.steps().project(x, *at.weight);
      }));
}

}  // namespace tern::estimate
