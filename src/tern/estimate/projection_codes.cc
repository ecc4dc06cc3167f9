// Other values in the place of the codes of a ternary weight.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "tern/estimate/least_squares.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/product_sample.h"
#include "tern/quant/format.h"

namespace tern::estimate {
namespace {

// Weights in the place of the codes 0, 1, 2, 3.
using CodeMap = std::array<double, 4>;

RowsOf with_codes(const gguf::Tensor& weight, const CodeMap& map, double scale) {
  return [&weight, map, scale](uint64_t row, WeightRow& out) {
    oracle::decode_row(weight, row, out);
    for (double& value : out.weights) {
      value = map[static_cast<size_t>(std::clamp(value + 1, 0.0, 3.0))];
    }
    out.scale = scale;
  };
}

// `codes`: those of the weight.
void propose_codes(const Product& product, const CodeMap& map, std::span<const size_t> codes, bool is_scale_ignored,
                   double simplicity, Proposals& proposals) {
  std::vector<double> values;
  Json expected = Json::array();
  for (const size_t code : codes) {
    values.push_back(map[code]);
    expected.push_back(static_cast<int>(code) - 1);
  }
  Json parameters = {{"values", values}, {"expected", expected}};
  if (is_scale_ignored) {
    parameters["scale"] = "ignored";
  }
  proposals.push_back(
      propose("ternary_code_map", std::move(parameters),
              fmt::format("the codes of {} stand for {}{}", product.weight->name, fmt::join(values, ", "),
                          is_scale_ignored ? ", and its scale is ignored" : ""),
              simplicity, [map, is_scale_ignored](const Product& at, const StageFacts& there) -> std::optional<Matrix> {
                if (at.weight->format != &quant::kI2sBitnetCpp) {
                  return std::nullopt;
                }
                return there.steps().project(at.x, *at.weight, at.weight->n_rows(),
                                             with_codes(*at.weight, map, is_scale_ignored ? 1 : at.scale));
              }));
}

// What each code stands for, by least squares over the sample: of few unknown numbers, many equations.
void propose_code_map(const Product& product, const Sample& sample, Proposals& proposals) {
  std::vector<Matrix> parts;
  std::vector<size_t> codes;
  for (size_t code = 0; code < 4; ++code) {
    CodeMap one{};
    one[code] = 1;
    Matrix part = multiply_such_rows(sample.input, sample.rows, with_codes(*product.weight, one, 1));
    if (rms_of(part) > 0) {
      parts.push_back(std::move(part));
      codes.push_back(code);
    }
  }
  const size_t n = parts.size();
  std::vector<std::span<const double>> terms;
  for (const Matrix& part : parts) {
    terms.emplace_back(part.values);
  }
  const std::vector<double> weights = least_squares(terms, sample.is.values);
  if (weights.empty()) {
    return;
  }
  CodeMap map{};
  Matrix fitted(sample.is.n_tokens, sample.is.n_features);
  for (size_t i = 0; i < n; ++i) {
    map[codes[i]] = weights[i];
    for (size_t k = 0; k < fitted.values.size(); ++k) {
      fitted.values[k] += weights[i] * parts[i].values[k];
    }
  }
  if (!(relative_error(fitted, sample.is) < kMuchBetter)) {
    return;
  }
  // In units of the scale, or in none where that gives whole numbers.
  const auto is_whole = [&](double unit) {
    return std::all_of(codes.begin(), codes.end(), [&](size_t code) {
      return std::abs(map[code] / unit - std::nearbyint(map[code] / unit)) < 0.01;
    });
  };
  const bool is_ignored = product.scale != 1 && !is_whole(product.scale) && is_whole(1);
  const double unit = is_ignored ? 1 : product.scale;
  const bool is_rounded = is_whole(unit);
  for (const size_t code : codes) {
    map[code] = is_rounded ? std::nearbyint(map[code] / unit) + 0.0 : map[code] / unit;  // no negative zero
  }
  if (std::abs(map[1]) < 1e-3 * std::max(std::abs(map[0]), std::abs(map[2])) &&
      std::abs(map[0] + map[2]) < 1e-3 * std::abs(map[0])) {
    return;  // the right codes, times a number
  }
  propose_codes(product, map, codes, is_ignored, 0.8, proposals);
}

// Maps that people make: another number than 1 is subtracted from the code, or the right values are in another order.
bool is_usual(const std::array<double, 3>& values) {
  std::array<double, 3> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  return (values[1] == values[0] + 1 && values[2] == values[1] + 1) || sorted == std::array<double, 3>{-1, 0, 1};
}

// Whole numbers in the place of -1, 0, 1 that give the RMS. It is a quadratic form of them, whose matrix is that of the
// products of what each code alone gives.
void propose_code_maps_by_rms(const StageFacts& facts, const Product& product, Proposals& proposals) {
  constexpr int kMost = 3;
  constexpr double kNear = 0.02;  // as far as rounding may move an RMS
  std::vector<Matrix> parts;
  const std::vector<size_t> codes = {0, 1, 2};
  for (const size_t code : codes) {
    CodeMap one{};
    one[code] = 1;
    parts.push_back(facts.steps().project(product.x, *product.weight, product.weight->n_rows(),
                                          with_codes(*product.weight, one, product.scale)));
  }
  std::array<std::array<double, 3>, 3> gram{};
  for (const size_t a : codes) {
    for (const size_t b : codes) {
      gram[a][b] = std::transform_reduce(parts[a].values.begin(), parts[a].values.end(), parts[b].values.begin(), 0.0);
    }
  }
  const auto n = static_cast<double>(parts[0].values.size());
  const auto rms_with = [&](const std::array<double, 3>& values) {
    double sum = 0;
    for (const size_t a : codes) {
      for (const size_t b : codes) {
        sum += values[a] * values[b] * gram[a][b];
      }
    }
    return std::sqrt(std::max(sum, 0.0) / n);
  };
  constexpr int kWide = 2 * kMost + 1;
  for (int i = 0; i < kWide * kWide * kWide; ++i) {
    const std::array<int, 3> whole = {i / (kWide * kWide) - kMost, i / kWide % kWide - kMost, i % kWide - kMost};
    const std::array<double, 3> values = {static_cast<double>(whole[0]), static_cast<double>(whole[1]),
                                          static_cast<double>(whole[2])};
    if (values[1] == 0 && values[0] == -values[2]) {
      continue;  // the right ones, times a number
    }
    const double rms = rms_with(values);
    for (const bool is_ignored : {false, true}) {
      const double by = is_ignored ? 1 / product.scale : 1;
      if ((!is_ignored || product.scale != 1) && std::abs(rms * by - *facts.rms()) < kNear * *facts.rms()) {
        propose_codes(product, {values[0], values[1], values[2], 2}, codes, is_ignored,
                      is_usual(values) ? 0.8 : kTableMeasured, proposals);
      }
    }
  }
}

}  // namespace

void propose_code_maps(const StageFacts& facts, const Product& product, const std::optional<Sample>& sample,
                       Proposals& proposals) {
  if (sample) {
    propose_code_map(product, *sample, proposals);
  } else {
    propose_code_maps_by_rms(facts, product, proposals);
  }
}

}  // namespace tern::estimate
