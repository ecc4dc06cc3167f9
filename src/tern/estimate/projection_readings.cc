// Another reading of a weight's bytes, and activations that are rounded by another rule: what was taken for what.
// With values, they are screened on few rows, and a number times all of it may come on top. An RMS gives no number: the
// readings are then proposed as they are, and without the scale.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "tern/estimate/least_squares.h"
#include "tern/estimate/numerics.h"
#include "tern/estimate/product.h"
#include "tern/quant/format.h"

namespace tern::estimate {
namespace {

using oracle::WeightRow;
using Row = std::vector<double>;

constexpr double kMuchBetter = 0.05;  // what may be left of the error where a reading is worth a full look

bool is_i2s(const gguf::Tensor& weight) {
  return weight.format == &quant::kI2sBitnetCpp && weight.n_cols() % 4 == 0 &&
         weight.data.size() * 4 >= weight.n_elements();
}

// Which bits of a row hold the code of a column.
struct Layout {
  uint64_t block;  // weights; a quarter of them lie side by side in the first bits of their bytes
  bool from_top;   // the first quarter lies in the top bits
};

Row read_in_layout(const gguf::Tensor& weight, uint64_t row, const Layout& layout) {
  const uint64_t n = weight.n_cols(), quarter = layout.block / 4;
  const auto bytes = weight.data.subspan(row * n / 4, n / 4);
  Row weights(n);
  for (uint64_t c = 0; c < n; ++c) {
    const uint64_t pair = c % layout.block / quarter;
    const auto byte = std::to_integer<unsigned>(bytes[c / layout.block * quarter + c % quarter]);
    weights[c] = static_cast<double>(byte >> 2 * (layout.from_top ? 3 - pair : pair) & 3U) - 1.0;
  }
  return weights;
}

constexpr Layout kRightLayout{128, true};
constexpr Layout kLayouts[] = {{64, true},   {32, true},  {256, true}, {16, true},   {4, true},
                               {128, false}, {64, false}, {32, false}, {256, false}, {4, false}};

using RowsOf = std::function<void(uint64_t row, WeightRow& out)>;

// A product with such rows, on the activations that meet the weight.
Matrix multiply_such_rows(const Matrix& input, std::span<const uint64_t> rows, const RowsOf& row_of) {
  Matrix y(input.n_tokens, rows.size());
  WeightRow row;
  for (size_t i = 0; i < rows.size(); ++i) {
    row_of(rows[i], row);
    for (size_t t = 0; t < input.n_tokens; ++t) {
      y.row(t)[i] =
          row.scale * std::transform_reduce(row.weights.begin(), row.weights.end(), input.row(t).begin(), 0.0);
    }
  }
  return y;
}

// What a stage looks like on few rows and tokens.
struct Sample {
  std::vector<uint64_t> rows;
  Matrix x, input, is, should;  // `input`: rounded as the format demands
};

Sample sample_of(const StageFacts& facts, const Product& product, uint64_t n_rows, size_t n_tokens) {
  Sample sample;
  sample.rows = spread(product.weight->n_rows(), n_rows);
  sample.x = first_tokens(product.x, n_tokens);
  sample.input = facts.steps().rounded_input(sample.x, *product.weight);
  sample.is = first_tokens(columns_of(*facts.is(), sample.rows), n_tokens);
  sample.should = first_tokens(columns_of(facts.should(), sample.rows), n_tokens);
  return sample;
}

std::string and_scale(double factor, double scale) {
  return std::abs(factor * scale - 1) < 1e-3 * std::abs(factor * scale) ? ", and its scale is ignored"
         : std::abs(factor - 1) > 1e-3 ? fmt::format(", and the output is {:.6g} times as large", factor)
                                       : std::string();
}

// A weight that is read in another order is held whole.
constexpr uint64_t kMostReadable = uint64_t{1} << 26;
bool is_readable(const gguf::Tensor& weight) { return weight.n_elements() <= kMostReadable; }

struct Reading {
  std::string id;
  Json parameters;
  std::string says;
  std::function<RowsOf(const gguf::Tensor& weight)> rows;
};

// The reading, and the output times `measured`.
void propose_times(const Product& product, const Reading& reading, double measured, Proposals& proposals) {
  const bool is_scaled = std::abs(measured - 1) > 1e-3;
  const bool is_unscaled = std::abs(measured * product.scale - 1) < 1e-3;
  Json parameters = reading.parameters;
  if (is_scaled) {
    parameters["factor"] = measured;
  }
  const double factor = is_scaled ? measured : 1;
  proposals.push_back(propose(
      reading.id, std::move(parameters), reading.says + (is_scaled ? and_scale(measured, product.scale) : ""), 0.9,
      [=, rows = reading.rows, format = product.weight->format](const Product& at,
                                                                const StageFacts& there) -> std::optional<Matrix> {
        if (at.weight->format != format || !is_readable(*at.weight)) {
          return std::nullopt;
        }
        const double by = is_unscaled && is_scaled ? 1 / at.scale : factor;
        Matrix y = there.steps().project(at.x, *at.weight, at.weight->n_rows(),
                                         [&, row_of = rows(*at.weight)](uint64_t row, WeightRow& out) {
                                           row_of(row, out);
                                           out.scale *= by;
                                         });
        return y;
      }));
}

// Where it explains the sample but for a factor, or without values.
void propose_reading(const Product& product, const Reading& reading, const std::optional<Sample>& sample,
                     Proposals& proposals) {
  if (!sample) {
    propose_times(product, reading, 1, proposals);
    if (product.scale != 1 && product.scale != 0) {
      propose_times(product, reading, 1 / product.scale, proposals);
    }
    return;
  }
  const Matrix read = multiply_such_rows(sample->input, sample->rows, reading.rows(*product.weight));
  const Factor fit = best_factor(read, sample->is);
  if (fit.error < kMuchBetter) {
    propose_times(product, reading, fit.factor, proposals);
  }
}

RowsOf in_layout(const gguf::Tensor& weight, const Layout& layout) {
  return [&weight, layout](uint64_t row, WeightRow& out) {
    oracle::decode_row(weight, row, out);
    out.weights = read_in_layout(weight, row, layout);
  };
}

// The same data, taken for a matrix of n_cols rows of n_rows weights each.
RowsOf transposed(const gguf::Tensor& weight) {
  auto all = std::make_shared<std::vector<float>>();
  all->reserve(weight.n_elements());
  WeightRow row;
  double scale = 1;  // of the first row
  for (uint64_t r = 0; r < weight.n_rows(); ++r) {
    oracle::decode_row(weight, r, row);
    scale = r == 0 && row.scale != 0 ? row.scale : scale;
    for (const double value : row.weights) {
      all->push_back(static_cast<float>(value * (row.scale / scale)));
    }
  }
  return [all, n_cols = weight.n_cols(), n_rows = weight.n_rows(), scale](uint64_t r, WeightRow& out) {
    out.scale = scale;
    out.weights.resize(n_cols);
    for (uint64_t c = 0; c < n_cols; ++c) {
      out.weights[c] = static_cast<double>((*all)[c * n_rows + r]);
    }
  };
}

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
                   Proposals& proposals) {
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
              0.8, [map, is_scale_ignored](const Product& at, const StageFacts& there) -> std::optional<Matrix> {
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
  for (const size_t code : codes) {
    map[code] = is_whole(unit) ? std::nearbyint(map[code] / unit) : map[code] / unit;
  }
  if (std::abs(map[1]) < 1e-3 * std::max(std::abs(map[0]), std::abs(map[2])) &&
      std::abs(map[0] + map[2]) < 1e-3 * std::abs(map[0])) {
    return;  // the right codes, times a number
  }
  propose_codes(product, map, codes, is_ignored, proposals);
}

// Codes of which another number is subtracted than 1.
void propose_code_shifts(const Product& product, Proposals& proposals) {
  const std::vector<size_t> codes = {0, 1, 2};
  for (const double subtracted : {0.0, 2.0, 3.0}) {
    CodeMap map{};
    for (size_t code = 0; code < map.size(); ++code) {
      map[code] = static_cast<double>(code) - subtracted;
    }
    propose_codes(product, map, codes, false, proposals);
    if (product.scale != 1) {
      propose_codes(product, map, codes, true, proposals);
    }
  }
}

// A way to round activations.
using Rounding = std::function<Matrix(const Matrix& x)>;

// What int8 formats scale by: no less than 1e-5.
double largest_of(std::span<const double> values) {
  double largest = 1e-5;
  for (const double value : values) {
    largest = std::max(largest, std::abs(value));
  }
  return largest;
}

Matrix rounded_to_levels(const Matrix& x, double levels, bool whole_batch) {
  Matrix y = x;
  const double of_all = largest_of(x.values);
  for (size_t t = 0; t < y.n_tokens; ++t) {
    const double largest = whole_batch ? of_all : largest_of(x.row(t));
    for (double& value : y.row(t)) {
      value = std::nearbyint(value * (levels / largest)) * (largest / levels);
    }
  }
  return y;
}

// How many steps a value is: the largest one may come out below 127, which cutting off makes 126.
using InSteps = double (*)(double value, double largest);
constexpr InSteps kInSteps[] = {
    [](double value, double largest) { return value * (127 / largest); },
    [](double value, double largest) { return value / (largest / 127); },
    [](double value, double largest) {
      return static_cast<double>(static_cast<float>(value) * (127 / static_cast<float>(largest)));
    },
    [](double value, double largest) {
      return static_cast<double>(static_cast<float>(value) / (static_cast<float>(largest) / 127));
    },
};

Matrix truncated(const Matrix& x, InSteps in_steps) {
  Matrix y = x;
  for (size_t t = 0; t < y.n_tokens; ++t) {
    const double largest = largest_of(x.row(t));
    for (double& value : y.row(t)) {
      value = std::trunc(in_steps(value, largest)) * (largest / 127);
    }
  }
  return y;
}

void propose_rounding(const Product& product, Json parameters, const std::string& says, double simplicity,
                      const Rounding& rounding, Proposals& proposals) {
  proposals.push_back(propose(
      "activation_rounding", std::move(parameters),
      fmt::format("the activations in front of {} are {}", product.weight->name, says), simplicity,
      [rounding, format = product.weight->format](const Product& at, const StageFacts&) -> std::optional<Matrix> {
        return at.weight->format == format ? std::optional(multiply(rounding(at.x), *at.weight)) : std::nullopt;
      }));
}

}  // namespace

void propose_readings(const StageFacts& facts, const Product& product, Proposals& proposals) {
  if (facts.is() && wrong_outputs(facts).size() * 2 < product.weight->n_rows()) {
    return;
  }
  const auto sample = facts.is() ? std::optional(sample_of(facts, product, 64, 8)) : std::nullopt;
  const std::string name(product.weight->name);
  if (is_readable(*product.weight)) {
    propose_reading(product,
                    {"weights_transposed",
                     {{"weight", name}},
                     fmt::format("rows and columns of {} change places", name),
                     transposed},
                    sample, proposals);
  }
  if (!is_i2s(*product.weight)) {
    return;
  }
  for (const Layout& layout : kLayouts) {
    if (product.weight->n_cols() % layout.block != 0) {
      continue;
    }
    const bool is_order = layout.block == 4 || !layout.from_top;
    Json parameters = {{"block", layout.block}, {"expected", kRightLayout.block}, {"weight", name}};
    if (is_order) {
      parameters["first"] = layout.from_top ? "top bits" : "lowest bits";
    }
    const std::string says = layout.block == 4
                                 ? fmt::format("the bytes of {} are taken for four neighbours{}", name,
                                               layout.from_top ? "" : ", from the lowest bits up")
                                 : fmt::format("the rows of {} are decoded in blocks of {}{}", name, layout.block,
                                               layout.from_top ? "" : ", from the lowest bits up");
    propose_reading(product,
                    {is_order ? "i2s_unpack_order" : "i2s_block_size", std::move(parameters), says,
                     [layout](const gguf::Tensor& weight) { return in_layout(weight, layout); }},
                    sample, proposals);
  }
  if (sample) {
    propose_code_map(product, *sample, proposals);
  } else {
    propose_code_shifts(product, proposals);
  }
}

void propose_roundings(const StageFacts& facts, const Product& product, Proposals& proposals) {
  if (facts.is() && relative_error(*facts.is(), facts.should()) > 0.5) {
    return;
  }
  const bool is_int8 = product.weight->format->activations == quant::kI2sBitnetCpp.activations;
  const auto sample = facts.is() ? std::optional(sample_of(facts, product, 16, 4)) : std::nullopt;
  const double error = sample ? relative_error(sample->should, sample->is) : 0;
  const auto is_better = [&](const Rounding& rounding, const Matrix& x) {
    const Matrix y = multiply_rows(rounding(x), *product.weight, sample->rows);
    return relative_error(first_tokens(y, sample->is.n_tokens), sample->is) < kMuchBetter * error;
  };
  const auto may_be = [&](const Rounding& rounding) { return !sample || is_better(rounding, sample->x); };
  const auto as_it_is = [](const Matrix& x) { return x; };
  if (may_be(as_it_is)) {
    propose_rounding(product, {{"rounding", "none"}}, "not rounded", 0.9, as_it_is, proposals);
  }
  const auto batch = [](const Matrix& x) { return rounded_to_levels(x, 127, true); };
  if (product.x.n_tokens > 1 && (!sample || is_better(batch, product.x))) {
    propose_rounding(product, {{"rounding", "one scale for the batch"}},
                     "rounded to int8 with one scale for the whole batch", 0.9, batch, proposals);
  }
  for (const InSteps in_steps : kInSteps) {
    const auto cut = [in_steps](const Matrix& x) { return truncated(x, in_steps); };
    if (may_be(cut)) {
      propose_rounding(product, {{"rounding", "truncated"}}, "cut off instead of rounded to the nearest step", 0.9, cut,
                       proposals);
    }
  }
  for (int levels = 1; sample && levels <= 1024; ++levels) {
    const auto rounding = [levels](const Matrix& x) { return rounded_to_levels(x, levels, false); };
    if ((!is_int8 || levels != 127) && may_be(rounding)) {
      propose_rounding(product, {{"levels", levels}, {"expected", is_int8 ? Json(127) : Json("none")}},
                       fmt::format("rounded to {} steps on each side of zero", levels), kNumberMeasured, rounding,
                       proposals);
      break;
    }
  }
}

}  // namespace tern::estimate
