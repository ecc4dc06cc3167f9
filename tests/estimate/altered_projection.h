// Projections of the bundled model with another product in their place.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "estimate/altered_run.h"

namespace tern::estimate {

using test::AlteredRun;
using test::simplest;
using test::that_hold;

// A stage, its input and its weight.
struct Site {
  std::string stage, input, weight;
};
inline const Site kQuery{"blk1/q_proj", "blk1/attn_norm", "blk.1.attn_q.weight"};
inline const Site kKey{"blk1/k_proj", "blk1/attn_norm", "blk.1.attn_k.weight"};
inline const Site kUp{"blk2/up_proj", "blk2/ffn_norm", "blk.2.ffn_up.weight"};
inline const Site kDown{"blk0/down_proj", "blk0/ffn_sub_norm", "blk.0.ffn_down.weight"};

inline Matrix times(Matrix y, double factor) {
  for (double& value : y.values) {
    value *= factor;
  }
  return y;
}

inline Matrix reordered(const Matrix& y, const std::vector<size_t>& read) {
  Matrix out = y;
  for (size_t t = 0; t < y.n_tokens; ++t) {
    for (size_t c = 0; c < read.size(); ++c) {
      out.row(t)[c] = y.row(t)[read[c]];
    }
  }
  return out;
}

class EstimateProjection : public testing::Test {
 public:
  using Weights = std::function<double(size_t row, size_t column, double weight)>;

 protected:
  EstimateProjection() = default;
  explicit EstimateProjection(std::vector<int32_t> prompt) : run_(std::move(prompt)) {}

  const gguf::Tensor& tensor(const std::string& name) const { return *run_.steps().view().find_tensor(name); }
  double scale(const std::string& name) const { return run_.steps().weight_scale(tensor(name)); }

  // int8 as the format demands, per token, in the unit of the input. Written apart from what is tested.
  static Matrix rounded(const Matrix& x, double levels) {
    Matrix y = x;
    for (size_t t = 0; t < x.n_tokens; ++t) {
      double largest = 1e-5;
      for (const double value : x.row(t)) {
        largest = std::max(largest, std::abs(value));
      }
      for (double& value : y.row(t)) {
        value = std::nearbyint(value * (levels / largest)) * (largest / levels);
      }
    }
    return y;
  }
  Matrix product(const Site& site, double levels, const Weights& change) const {
    const Matrix x = levels > 0 ? rounded(run_.values(site.input), levels) : run_.values(site.input);
    const gguf::Tensor& weight = tensor(site.weight);
    Matrix y(x.n_tokens, weight.n_rows());
    for (size_t r = 0; r < weight.n_rows(); ++r) {
      const auto row = run_.steps().weight_row(weight, r);
      for (size_t t = 0; t < x.n_tokens; ++t) {
        for (size_t c = 0; c < row.size(); ++c) {
          y.row(t)[r] += change(r, c, row[c]) * x.row(t)[c];
        }
      }
    }
    return y;
  }

  Proposal found(const Site& site, const Matrix& is, bool with_values = true) {
    return simplest(run_.facts(site.stage, is, with_values), estimate_projection);
  }

  AlteredRun run_;
};

}  // namespace tern::estimate
