// Another reading of a weight's bytes: what was taken for what.
// With values, they are screened on few rows, and a number times all of it may come on top. An RMS gives no number: the
// readings are then proposed as they are, and without the scale.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "tern/estimate/numerics.h"
#include "tern/estimate/product_sample.h"
#include "tern/quant/format.h"

namespace tern::estimate {
namespace {

using Row = std::vector<double>;

bool is_i2s(const gguf::Tensor& weight) {
  return weight.format == &quant::kI2sBitnetCpp && weight.n_cols() % 4 == 0 &&
         weight.data.size() * 4 >= weight.n_elements();
}

// Which bits of a row hold the code of a column: of `block` weights, each quarter lies in one pair of bits of the
// block's bytes. Pair 0 is the top one.
struct Layout {
  uint64_t block;
  std::array<unsigned, 4> pairs;  // of each quarter
};
constexpr std::array<unsigned, 4> kFromTop = {0, 1, 2, 3}, kFromBottom = {3, 2, 1, 0};
constexpr uint64_t kBlock = 128;     // weights; of the format
constexpr uint64_t kNeighbours = 4;  // a block of one byte
constexpr uint64_t kBlocks[] = {kBlock, 64, 32, 256, 16, 8, kNeighbours};

Row read_in_layout(const gguf::Tensor& weight, uint64_t row, const Layout& layout) {
  const uint64_t n = weight.n_cols(), quarter = layout.block / 4;
  const auto bytes = weight.data.subspan(row * n / 4, n / 4);
  Row weights(n);
  for (uint64_t c = 0; c < n; ++c) {
    const unsigned pair = layout.pairs[c % layout.block / quarter];
    const auto byte = std::to_integer<unsigned>(bytes[c / layout.block * quarter + c % quarter]);
    weights[c] = static_cast<double>(byte >> 2 * (3 - pair) & 3U) - 1.0;
  }
  return weights;
}

// All that differ from the format's. `all_orders`: of the pairs, besides those from the top and from the bottom.
std::vector<Layout> other_layouts(uint64_t n_cols, bool all_orders) {
  std::vector<Layout> layouts;
  for (const uint64_t block : kBlocks) {
    std::array<unsigned, 4> pairs = kFromTop;
    do {
      const bool is_right = block == kBlock && pairs == kFromTop;
      if (n_cols % block == 0 && !is_right && (all_orders || pairs == kFromTop || pairs == kFromBottom)) {
        layouts.push_back({block, pairs});
      }
    } while (std::next_permutation(pairs.begin(), pairs.end()));
  }
  return layouts;
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

Reading layout_reading(const Layout& layout, const std::string& weight) {
  const bool from_top = layout.pairs == kFromTop, from_bottom = layout.pairs == kFromBottom;
  const bool is_order = layout.block == kNeighbours || !from_top;
  Json parameters = {{"block", layout.block}, {"expected", kBlock}, {"weight", weight}};
  if (is_order && (from_top || from_bottom)) {
    parameters["first"] = from_top ? "top bits" : "lowest bits";
  } else if (is_order) {
    parameters["pairs"] = layout.pairs;
  }
  const std::string order =
      from_top      ? ""
      : from_bottom ? ", from the lowest bits up"
                    : fmt::format(", the pairs of bits in the order {} from the top", fmt::join(layout.pairs, ", "));
  return {is_order ? "i2s_unpack_order" : "i2s_block_size", std::move(parameters),
          layout.block == kNeighbours
              ? fmt::format("the bytes of {} are taken for four neighbours{}", weight, order)
              : fmt::format("the rows of {} are decoded in blocks of {}{}", weight, layout.block, order),
          [layout](const gguf::Tensor& tensor) { return in_layout(tensor, layout); }};
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

}  // namespace

void propose_readings(const StageFacts& facts, const Product& product, Proposals& proposals) {
  if (facts.is() ? wrong_outputs(facts).size() * 2 < product.weight->n_rows() : !facts.rms()) {
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
  for (const Layout& layout : other_layouts(product.weight->n_cols(), facts.is().has_value())) {
    propose_reading(product, layout_reading(layout, name), sample, proposals);
  }
  propose_code_maps(facts, product, sample, proposals);
}

}  // namespace tern::estimate
