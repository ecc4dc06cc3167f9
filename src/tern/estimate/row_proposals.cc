#include "tern/estimate/row_proposals.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "tern/estimate/numerics.h"
#include "tern/estimate/site.h"
#include "tern/quant/format.h"

namespace tern::estimate {
namespace {

constexpr double kRowsAndNumber = 0.55;  // less simple than the number for all rows

std::string rows_text(const Rows& rows) {
  const bool is_run = rows.size() > 1 && rows.back() - rows.front() + 1 == rows.size();
  return rows.size() == 1 ? fmt::format("row {}", rows[0])
         : is_run         ? fmt::format("rows {} to {}", rows.front(), rows.back())
                          : fmt::format("{} rows, the first {},", rows.size(), rows.front());
}

Json rows_parameters(const Product& product, const Rows& rows) {
  return {{"rows", rows}, {"weight", std::string(product.weight->name)}};
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

// The tensor that takes the place of another: in the same layer of every layer, or in one layer that of another, and
// the other way round.
ProductRule exchanged(const gguf::Tensor& own, const gguf::Tensor& other, const BorrowedScale& scale) {
  return [own_name = std::string(own.name), other_name = std::string(other.name), scale](
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
    Matrix y = there.steps().project(at.x, *tensor);
    const double factor = factor_of(there.steps(), at, *tensor, scale);
    std::transform(y.values.begin(), y.values.end(), y.values.begin(),
                   [factor](double value) { return value * factor; });
    return y;
  };
}

// The tensor whose scale is used; null for a number, or where none has a scale.
Json scale_of(const Product& product, const gguf::Tensor& read, ScaleOf of) {
  return read.format->activations != quant::kI2sBitnetCpp.activations || of == ScaleOf::kNumber
             ? Json(nullptr)
             : Json(std::string(of == ScaleOf::kOwn ? product.weight->name : read.name));
}

std::string with_scale_text(const BorrowedScale& scale, std::string_view own) {
  return scale.of == ScaleOf::kOwn      ? fmt::format(", with the scale of {}", own)
         : scale.of == ScaleOf::kNumber ? fmt::format(", times {:.6g}", scale.factor)
                                        : std::string();
}

}  // namespace

BorrowedScale borrowed_scale(const oracle::Steps& steps, const Product& product, const gguf::Tensor& read,
                             double measured) {
  constexpr double kSame = 1e-4;  // as near as int8 steps that round otherwise let a factor be measured
  const double of_own = product.scale / steps.weight_scale(read);
  const bool is_own = read.format == product.weight->format && std::abs(measured / of_own - 1) < kSame;
  return is_own                           ? BorrowedScale{ScaleOf::kOwn}
         : std::abs(measured - 1) < kSame ? kScaleOfRead
                                          : BorrowedScale{ScaleOf::kNumber, measured};
}

double factor_of(const oracle::Steps& steps, const Product& product, const gguf::Tensor& read,
                 const BorrowedScale& scale) {
  return scale.of == ScaleOf::kOwn ? product.scale / steps.weight_scale(read) : scale.factor;
}

Rows keys_of(const RowSources& sources) {
  Rows rows;
  for (const auto& [row, source] : sources) {
    rows.push_back(row);
  }
  return rows;
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

void propose_own_rows(const StageFacts& facts, const Product& product, const RowSources& sources,
                      Proposals& proposals) {
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
      if (read == pair_order(read.size(), head_dim, undone)) {
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

void propose_mixed_rows(const Product& product, const RowSources& sources, Proposals& proposals) {
  Json parameters = rows_parameters(product, keys_of(sources));
  std::map<std::string, const RowSource*> tensors;  // by name, one source of each
  Json read = Json::array();
  for (const auto& [row, source] : sources) {
    read.push_back(source.tensor == nullptr ? Json("zero") : Json(source.row));
    tensors[source.tensor == nullptr ? "zero" : std::string(source.tensor->name)] = &source;
  }
  parameters["read"] = std::move(read);
  std::vector<std::string> from;
  for (const auto& [name, source] : tensors) {
    from.push_back(name);
    if (source->tensor == nullptr) {
      continue;
    }
    if (source->scale == ScaleOf::kNumber) {
      parameters["factor"][name] = source->factor;
    } else if (Json of = scale_of(product, *source->tensor, source->scale); !of.is_null()) {
      parameters["scale_of"][name] = std::move(of);
    }
  }
  parameters["from"] = from;
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
  const RowSource& one = sources.begin()->second;
  const std::string borrowed =
      tensors.size() == 1 ? with_scale_text({one.scale, one.factor}, product.weight->name) : std::string();
  std::string says =
      is_sign     ? fmt::format("{} of {} {} negated", rows_text(keys_of(sources)), product.weight->name, verb)
      : is_factor ? fmt::format("{} of {} {} multiplied with {:.6g}", rows_text(keys_of(sources)), product.weight->name,
                                verb, factor)
                  : fmt::format("{} of {} {} from {}{}", rows_text(keys_of(sources)), product.weight->name,
                                sources.size() == 1 ? "comes" : "come", fmt::join(from, " and "), borrowed);
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

void propose_swapped(const Product& product, const gguf::Tensor& other, const BorrowedScale& scale, double simplicity,
                     Proposals& proposals) {
  const std::string own(product.weight->name), read(other.name);
  Json parameters = {{"weight", own}, {"read", read}};
  if (scale.of == ScaleOf::kNumber) {
    parameters["factor"] = scale.factor;
  } else if (Json of = scale_of(product, other, scale.of); !of.is_null()) {
    parameters["scale_of"] = std::move(of);
  }
  proposals.push_back(propose("weights_swapped", std::move(parameters),
                              fmt::format("{} is read in the place of {}{}", read, own, with_scale_text(scale, own)),
                              simplicity, exchanged(*product.weight, other, scale)));
}

}  // namespace tern::estimate
