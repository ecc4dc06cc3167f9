// A product with a weight matrix: a number that it was multiplied with, other rows, other weights, another reading of
// their bytes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>

#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"
#include "tern/estimate/site.h"

namespace tern::estimate {
namespace {

// What becomes of a tensor's scale, whichever tensor it is.
struct ScaleRule {
  double (*scale)(double scale);
  const char* says;                // with the weight's name
  const char* format = nullptr;    // that it is rounded to
  const char* rounding = nullptr;  // the way of rounding
};
constexpr ScaleRule kScaleRules[] = {
    {[](double) { return 1.0; }, "the scale of {} is ignored"},
    {[](double scale) { return 1 / scale; }, "{} is divided by its scale instead of multiplied"},
    {[](double scale) { return scale * scale; }, "the scale of {} is applied twice"},
    {as_bfloat16, "the scale of {} is rounded to the nearest bfloat16", "bfloat16", "nearest"},
    {cut_to_bfloat16, "the scale of {} is cut off to bfloat16", "bfloat16", "truncated"},
    {as_float16, "the scale of {} is rounded to the nearest float16", "float16", "nearest"},
    {cut_to_float16, "the scale of {} is cut off to float16", "float16", "truncated"},
};

Json factor_parameters(const Product& product, double factor) {
  return {{"factor", factor}, {"expected", 1.0}, {"weight", std::string(product.weight->name)}};
}

// Whether a measured factor may be this one. An RMS measures it less well.
bool may_be(double measured, double factor, bool has_values) {
  return std::abs(measured - factor) <= (has_values ? 1e-4 : 1e-2) * std::abs(factor);
}

// The same of a factor that comes of a rounded scale: near 1, so that the difference from 1 is what must fit.
bool may_be_rounding(double measured, double factor, bool has_values) {
  return may_be(measured, factor, has_values) &&
         std::abs(measured - factor) <= (has_values ? 0.05 : 0.25) * std::abs(factor - 1);
}

// Whether both ways of rounding to the format make the same of this scale.
bool is_one_rounding(const ScaleRule& rule, double scale) {
  return std::all_of(std::begin(kScaleRules), std::end(kScaleRules), [&](const ScaleRule& other) {
    return other.format == nullptr || std::string_view(other.format) != rule.format ||
           other.scale(scale) == rule.scale(scale);
  });
}

// The scales of other tensors of the file.
void propose_other_scales(const StageFacts& facts, const Product& product, double measured, Proposals& proposals) {
  constexpr size_t kMostOthers = 3;
  const bool has_values = facts.is().has_value();
  std::vector<std::pair<double, const gguf::Tensor*>> others;
  for (const gguf::Tensor& other : facts.steps().view().tensors()) {
    if (&other == product.weight || other.format != product.weight->format) {
      continue;
    }
    const double factor = facts.steps().weight_scale(other) / product.scale;
    if (factor != 1 && may_be(measured, factor, has_values)) {
      others.emplace_back(std::abs(measured / factor - 1), &other);
    }
  }
  std::sort(others.begin(), others.end());
  others.resize(std::min(others.size(), kMostOthers));
  for (const auto& [off, other] : others) {
    Json parameters = factor_parameters(product, facts.steps().weight_scale(*other) / product.scale);
    parameters["scale_of"] = std::string(other->name);
    const auto own = layer_tensor(product.weight->name), theirs = layer_tensor(other->name);
    const bool in_same_layer = own && theirs && own->layer == theirs->layer;
    // The same mistake may be made in every layer.
    proposals.push_back(propose(
        "weight_scale", std::move(parameters),
        fmt::format("{} gets the scale of {}", product.weight->name, other->name), 0.8,
        [=, name = std::string(product.weight->name), stem = own ? own->stem : "",
         other_stem = theirs ? theirs->stem : "",
         other_name = std::string(other->name)](const Product& at, const StageFacts& there) -> std::optional<Matrix> {
          const auto here = layer_tensor(at.weight->name);
          const bool is_sibling = in_same_layer && here && here->stem == stem;
          if (!is_sibling && at.weight->name != name) {
            return std::nullopt;
          }
          const auto* of = there.steps().view().find_tensor(is_sibling ? here->sibling(other_stem) : other_name);
          return of == nullptr ? std::nullopt
                               : std::optional(multiplied(there.should(), there.steps().weight_scale(*of) / at.scale));
        }));
  }
}

void propose_factor(const StageFacts& facts, const Product& product, double factor, Proposals& proposals) {
  const bool has_values = facts.is().has_value();
  const std::string name(product.weight->name);
  const auto everywhere = [&](double times_what, std::string id, std::string says) {
    proposals.push_back(propose(
        std::move(id), factor_parameters(product, times_what), std::move(says), 1,
        [times_what](const Product&, const StageFacts& there) { return multiplied(there.should(), times_what); }));
  };
  if (factor == 0) {
    everywhere(0, "weight_scale", fmt::format("the output of {} is all zero", name));
    return;
  }
  if (may_be(factor, -1, has_values)) {
    everywhere(-1, "weight_sign", fmt::format("the sign of {} is inverted", name));
    return;
  }
  for (const ScaleRule& rule : kScaleRules) {
    const double named = rule.scale(product.scale) / product.scale;
    const bool fits =
        rule.format == nullptr ? may_be(factor, named, has_values) : may_be_rounding(factor, named, has_values);
    if (named == 1 || !std::isfinite(named) || !fits) {
      continue;
    }
    Json parameters = factor_parameters(product, named);
    std::string says = fmt::format(fmt::runtime(rule.says), name);
    if (rule.format != nullptr) {
      parameters["format"] = rule.format;
      const bool is_either = is_one_rounding(rule, product.scale);
      parameters["rounding"] = is_either ? "nearest or truncated" : rule.rounding;
      if (is_either) {
        says = fmt::format("the scale of {} is rounded to {}", name, rule.format);
      }
    }
    proposals.push_back(propose("weight_scale", std::move(parameters), std::move(says), 1,
                                [scale = rule.scale](const Product& at, const StageFacts& there) {
                                  return multiplied(there.should(), scale(at.scale) / at.scale);
                                }));
  }
  propose_other_scales(facts, product, factor, proposals);
  if (std::abs(factor - 1) < (has_values ? 1e-6 : 1e-5)) {
    return;
  }
  const double given = shortest_within(factor, (has_values ? 1e-6 : 1e-5) * std::abs(factor));
  proposals.push_back(
      propose("weight_scale", factor_parameters(product, given),
              fmt::format("the output of {} is {:.6g} times what it should be", name, given),
              has_values ? kNumberMeasured : kFitsAnything,
              [factor](const Product&, const StageFacts& there) { return multiplied(there.should(), factor); }));
}

// One number explains it: no need to look at rows and weights.
bool is_settled(const StageFacts& facts, const Proposals& proposals) {
  return facts.is() && !proposals.empty() && best_factor(facts.should(), *facts.is()).error < 1e-4;
}

}  // namespace

std::optional<Product> product_of(const StageFacts& facts) {
  const trace::StageKind kind = facts.id().stage.kind();
  const gguf::Tensor* const weight = weight_of_stage(facts);
  if ((kind != trace::StageKind::kProjection && kind != trace::StageKind::kHead) || weight == nullptr) {
    return std::nullopt;
  }
  auto x = input_of_stage(facts);
  const Matrix& y = facts.should();
  if (!x || x->n_features != weight->n_cols() || x->n_tokens != y.n_tokens || y.n_features != weight->n_rows()) {
    return std::nullopt;
  }
  return Product{std::move(*x), weight, facts.steps().weight_scale(*weight)};
}

Proposal propose(std::string id, Json parameters, std::string says, double simplicity, ProductRule rule) {
  return {std::move(id), std::move(parameters), std::move(says),
          [rule = std::move(rule)](const StageFacts& facts) -> std::optional<Matrix> {
            const auto product = product_of(facts);
            return product ? rule(*product, facts) : std::nullopt;
          },
          simplicity};
}

ProductRule only_of(const gguf::Tensor& weight, ProductRule rule) {
  return [name = std::string(weight.name), rule = std::move(rule)](const Product& at, const StageFacts& facts) {
    return at.weight->name == name ? rule(at, facts) : std::nullopt;
  };
}

Matrix multiply_rows(const Matrix& input, const gguf::Tensor& weight, std::span<const uint64_t> rows) {
  Matrix y(input.n_tokens, rows.size());
  oracle::WeightRow row;
  for (size_t i = 0; i < rows.size(); ++i) {
    oracle::decode_row(weight, rows[i], row);
    for (size_t t = 0; t < input.n_tokens; ++t) {
      y.row(t)[i] =
          row.scale * std::transform_reduce(row.weights.begin(), row.weights.end(), input.row(t).begin(), 0.0);
    }
  }
  return y;
}

Matrix multiply(const Matrix& input, const gguf::Tensor& weight) {
  std::vector<uint64_t> rows(weight.n_rows());
  std::iota(rows.begin(), rows.end(), 0);
  return multiply_rows(input, weight, rows);
}

std::vector<uint64_t> spread(uint64_t n_rows, uint64_t n) {
  n = std::min(n, n_rows);
  std::vector<uint64_t> rows;
  for (uint64_t i = 0; i < n; ++i) {
    rows.push_back(i * n_rows / n);
  }
  return rows;
}

Matrix first_tokens(const Matrix& matrix, size_t n) {
  Matrix part = matrix;
  part.n_tokens = std::min(n, matrix.n_tokens);
  part.values.resize(part.n_tokens * part.n_features);
  return part;
}

Factor best_factor(const Matrix& from, const Matrix& to) {
  const double both = std::transform_reduce(from.values.begin(), from.values.end(), to.values.begin(), 0.0);
  const double own = std::transform_reduce(from.values.begin(), from.values.end(), from.values.begin(), 0.0);
  const double factor = own > 0 ? both / own : 0;
  return {factor, relative_error(multiplied(from, factor), to)};
}

std::vector<size_t> wrong_outputs(const StageFacts& facts) {
  const Matrix &is = *facts.is(), &should = facts.should();
  std::vector<size_t> wrong;
  for (size_t c = 0; c < should.n_features; ++c) {
    for (size_t t = 0; t < should.n_tokens; ++t) {
      if (!(std::abs(is.row(t)[c] - should.row(t)[c]) <= facts.rounding())) {
        wrong.push_back(c);
        break;
      }
    }
  }
  return wrong;
}

void propose_factors(const StageFacts& facts, const Product& product, Proposals& proposals) {
  const double should = rms_of(facts.should());
  if (!(should > 0)) {
    return;
  }
  if (facts.is()) {
    const Factor measured = best_factor(facts.should(), *facts.is());
    const bool is_zero = rms_of(*facts.is()) == 0;
    if (is_zero || measured.error < 0.1) {
      propose_factor(facts, product, is_zero ? 0 : measured.factor, proposals);
    }
  } else if (facts.rms()) {
    const double factor = *facts.rms() / should;
    propose_factor(facts, product, factor, proposals);
    if (factor > 0) {
      propose_factor(facts, product, -factor, proposals);
    }
  }
}

std::vector<Proposal> estimate_projection(const StageFacts& facts) {
  const auto product = product_of(facts);
  std::vector<Proposal> proposals;
  if (!product || (facts.is() && facts.is()->values.size() != facts.should().values.size())) {
    return proposals;
  }
  propose_factors(facts, *product, proposals);
  if (is_settled(facts, proposals)) {
    return explaining(std::move(proposals), facts);
  }
  propose_rows(facts, *product, proposals);
  propose_weight_values(facts, *product, proposals);
  propose_input_heads(facts, *product, proposals);
  propose_readings(facts, *product, proposals);
  propose_roundings(facts, *product, proposals);
  return facts.is() ? explaining(std::move(proposals), facts) : proposals;
}

}  // namespace tern::estimate
