// What a product got wrong is measured, whatever the number, the row or the weight is.
#include <gtest/gtest.h>

#include <numeric>

#include "estimate/altered_run.h"

namespace tern::estimate {
namespace {

using test::AlteredRun;
using test::simplest;
using test::that_hold;

// A stage, its input and its weight.
struct Site {
  std::string stage, input, weight;
};
const Site kQuery{"blk1/q_proj", "blk1/attn_norm", "blk.1.attn_q.weight"};
const Site kKey{"blk1/k_proj", "blk1/attn_norm", "blk.1.attn_k.weight"};
const Site kUp{"blk2/up_proj", "blk2/ffn_norm", "blk.2.ffn_up.weight"};
const Site kDown{"blk0/down_proj", "blk0/ffn_sub_norm", "blk.0.ffn_down.weight"};

Matrix times(Matrix y, double factor) {
  for (double& value : y.values) {
    value *= factor;
  }
  return y;
}

Matrix reordered(const Matrix& y, const std::vector<size_t>& read) {
  Matrix out = y;
  for (size_t t = 0; t < y.n_tokens; ++t) {
    for (size_t c = 0; c < read.size(); ++c) {
      out.row(t)[c] = y.row(t)[read[c]];
    }
  }
  return out;
}

class EstimateProjection : public testing::Test {
 protected:
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
  using Weights = std::function<double(size_t row, size_t column, double weight)>;
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

TEST_F(EstimateProjection, FactorOfAnyValue) {
  for (const double factor : {0.37, -2.5, 1.0071, 166.0}) {
    const Proposal proposal = found(kQuery, times(run_.values(kQuery.stage), factor));
    EXPECT_EQ(proposal.id, "weight_scale");
    EXPECT_NEAR(proposal.parameters.value("factor", 0.0), factor, 1e-4 * std::abs(factor)) << proposal.parameters;
  }
}

TEST_F(EstimateProjection, AFactorIsNamedAfterWhatItEquals) {
  const double s = scale(kUp.weight), other = scale(kDown.weight);
  const std::vector<std::pair<double, const char*>> cases = {{1 / s, "is ignored"},
                                                             {1 / (s * s), "divided by its scale instead of"},
                                                             {s, "applied twice"},
                                                             {other / s, "gets the scale of blk.0.ffn_down.weight"}};
  for (const auto& [factor, says] : cases) {
    const Proposal proposal = found(kUp, times(run_.values(kUp.stage), factor));
    EXPECT_EQ(proposal.id, "weight_scale");
    EXPECT_NE(proposal.says.find(says), std::string::npos) << proposal.says << " is not: " << says;
    EXPECT_NEAR(proposal.parameters.value("factor", -1.0), factor, 1e-4 * factor);
  }
  EXPECT_EQ(found(kUp, times(run_.values(kUp.stage), -1)).id, "weight_sign");
  const auto of_zeros = estimate_projection(run_.facts(kUp.stage, times(run_.values(kUp.stage), 0)));
  ASSERT_EQ(of_zeros.size(), 1U) << test::listed(of_zeros);
  EXPECT_EQ(of_zeros[0].id, "weight_scale");
  EXPECT_EQ(of_zeros[0].parameters["factor"], 0.0);
  EXPECT_NE(of_zeros[0].says.find("is all zero"), std::string::npos);
}

TEST_F(EstimateProjection, ARuleHoldsForOtherTensorsToo) {
  const double s = scale(kUp.weight), t = scale(kDown.weight);
  const Proposal proposal = found(kUp, times(run_.values(kUp.stage), 1 / (s * s)));
  const auto elsewhere = run_.facts(kDown.stage, times(run_.values(kDown.stage), 1 / (t * t)));
  const auto y = proposal.recompute(elsewhere);
  ASSERT_TRUE(y);
  EXPECT_LT(test::distance(*y, *elsewhere.is()), 1e-6);
}

TEST_F(EstimateProjection, RowsThatAreMissing) {
  Matrix y = run_.values(kUp.stage);
  const size_t from = y.n_features * 2 / 3 + 5;
  for (size_t t = 0; t < y.n_tokens; ++t) {
    std::fill(y.row(t).begin() + static_cast<std::ptrdiff_t>(from), y.row(t).end(), 0.0);
  }
  for (const bool with_values : {true, false}) {
    const auto hold = that_hold(run_.facts(kUp.stage, y, with_values), estimate_projection);
    const Proposal* const proposal = test::find(hold, "weight_rows");
    ASSERT_NE(proposal, nullptr) << test::listed(hold);
    EXPECT_EQ(proposal->parameters["rows"].front(), from);
    EXPECT_EQ(proposal->parameters["rows"].size(), y.n_features - from);
  }
}

TEST_F(EstimateProjection, RowsInAnotherOrder) {
  std::vector<size_t> read(run_.values(kUp.stage).n_features);
  std::iota(read.begin(), read.end(), 0);
  std::swap(read[17], read[201]);
  const Proposal swapped = found(kUp, reordered(run_.values(kUp.stage), read));
  EXPECT_EQ(swapped.id, "weight_rows");
  EXPECT_EQ(swapped.parameters["rows"], Json({17, 201}));
  EXPECT_EQ(swapped.parameters["read"], Json({201, 17}));

  for (size_t i = 0; i < read.size(); ++i) {
    read[i] = (i + 3) % read.size();
  }
  const Proposal shifted = found(kUp, reordered(run_.values(kUp.stage), read));
  EXPECT_EQ(shifted.id, "weight_rows");
  EXPECT_EQ(shifted.parameters.value("offset", 0), 3) << shifted.parameters;
}

TEST_F(EstimateProjection, HeadsAndPairsInAnotherOrder) {
  const auto head_dim = static_cast<size_t>(run_.steps().hyperparameters().head_dim);
  const auto n_heads = static_cast<size_t>(run_.steps().hyperparameters().n_heads);
  ASSERT_GE(n_heads, 2U);
  std::vector<size_t> order(n_heads), read(n_heads * head_dim), pairs(n_heads * head_dim);
  for (size_t i = 0; i < read.size(); ++i) {
    const size_t h = i / head_dim, d = i % head_dim;
    order[h] = (h + 1) % n_heads;
    read[i] = order[h] * head_dim + d;
    pairs[i] = h * head_dim + d % 2 * (head_dim / 2) + d / 2;
  }
  const Proposal heads = found(kQuery, reordered(run_.values(kQuery.stage), read));
  EXPECT_EQ(heads.id, "head_order");
  EXPECT_EQ(heads.parameters["order"], Json(order));
  EXPECT_EQ(found(kQuery, reordered(run_.values(kQuery.stage), pairs)).id, "qk_row_permutation");
}

TEST_F(EstimateProjection, RowsOfAnotherMatrix) {
  const auto swapped = [&](const char* other) {
    return found(kUp, run_.steps().project(run_.values(kUp.input), tensor(other)));
  };
  for (const char* other : {"blk.2.ffn_gate.weight", "blk.0.ffn_up.weight"}) {
    const Proposal proposal = swapped(other);
    EXPECT_EQ(proposal.id, "weights_swapped");
    EXPECT_EQ(proposal.parameters.value("read", ""), other);
  }
  // Few of them.
  Matrix y = run_.values(kUp.stage);
  const Matrix other = run_.steps().project(run_.values(kUp.input), tensor("blk.2.ffn_gate.weight"));
  for (size_t t = 0; t < y.n_tokens; ++t) {
    for (const size_t row : {8U, 9U, 10U}) {
      y.row(t)[row] = other.row(t)[row];
    }
  }
  const Proposal few = found(kUp, y);
  EXPECT_EQ(few.id, "weight_rows");
  EXPECT_EQ(few.parameters["rows"], Json({8, 9, 10}));
  EXPECT_EQ(few.parameters["from"], Json({"blk.2.ffn_gate.weight"}));
}

// Each matrix has a scale of its own, and the codes of another may meet either, or a number that is neither.
TEST_F(EstimateProjection, RowsOfAnotherMatrixWithEitherScale) {
  const double own = scale(kUp.weight);
  for (const char* name : {"blk.2.ffn_gate.weight", "blk.3.ffn_up.weight", "blk.3.attn_q.weight"}) {
    const Matrix other = run_.steps().project(run_.values(kUp.input), tensor(name));
    const double to_own = own / scale(name);
    ASSERT_GT(std::abs(to_own - 1), 1e-3) << name;
    for (const double factor : {to_own, 1.0, 0.71}) {
      Matrix y = run_.values(kUp.stage);
      for (size_t t = 0; t < y.n_tokens; ++t) {
        for (size_t row = 40; row < 60; ++row) {
          y.row(t)[row] = factor * other.row(t)[row + 3];
        }
      }
      const Proposal proposal = found(kUp, y);
      EXPECT_EQ(proposal.id, "weight_rows") << name << factor;
      EXPECT_EQ(proposal.parameters["rows"].size(), 20U) << proposal.parameters;
      EXPECT_EQ(proposal.parameters["rows"].front(), 40);
      EXPECT_EQ(proposal.parameters["read"].front(), 43);
      EXPECT_EQ(proposal.parameters["from"], Json({name}));
      if (factor == 0.71) {
        EXPECT_NEAR(proposal.parameters["factor"].value(name, 0.0), factor, 1e-5) << proposal.parameters;
        EXPECT_FALSE(proposal.parameters.contains("scale_of"));
      } else {
        EXPECT_EQ(proposal.parameters["scale_of"].value(name, ""), factor == 1 ? name : kUp.weight)
            << proposal.parameters;
      }
    }
  }
}

TEST_F(EstimateProjection, OneRowOfAnotherLayerWithTheOwnScale) {
  const Matrix other = run_.steps().project(run_.values(kUp.input), tensor("blk.3.ffn_up.weight"));
  Matrix y = run_.values(kUp.stage);
  for (size_t t = 0; t < y.n_tokens; ++t) {
    y.row(t)[5] = other.row(t)[5] * scale(kUp.weight) / scale("blk.3.ffn_up.weight");
  }
  const Proposal proposal = found(kUp, y);
  EXPECT_EQ(proposal.id, "weight_rows");
  EXPECT_EQ(proposal.parameters["rows"], Json({5}));
  EXPECT_EQ(proposal.parameters["scale_of"].value("blk.3.ffn_up.weight", ""), kUp.weight) << proposal.parameters;
}

TEST_F(EstimateProjection, AWholeMatrixWithEitherScale) {
  for (const char* name : {"blk.2.ffn_gate.weight", "blk.3.ffn_up.weight"}) {
    const Matrix other = run_.steps().project(run_.values(kUp.input), tensor(name));
    for (const bool is_own : {true, false}) {
      const Matrix y = times(other, is_own ? scale(kUp.weight) / scale(name) : 1);
      const auto expect = [&](const Proposal* proposal) {
        ASSERT_NE(proposal, nullptr) << name;
        EXPECT_EQ(proposal->parameters["weight"], kUp.weight);
        EXPECT_EQ(proposal->parameters["read"], name);
        EXPECT_EQ(proposal->parameters["scale_of"], is_own ? kUp.weight : name);
      };
      const Proposal proposal = found(kUp, y);
      EXPECT_EQ(proposal.id, "weights_swapped");
      expect(&proposal);
      const auto by_rms = that_hold(run_.facts(kUp.stage, y, false), estimate_projection);
      expect(test::find(by_rms, "weights_swapped"));
    }
  }
}

TEST_F(EstimateProjection, RowsTimesANumber) {
  for (const double factor : {-1.0, 0.25}) {
    Matrix y = run_.values(kUp.stage);
    for (size_t t = 0; t < y.n_tokens; ++t) {
      for (size_t row = 40; row <= 300; ++row) {
        y.row(t)[row] *= factor;
      }
    }
    const Proposal proposal = found(kUp, y);
    EXPECT_EQ(proposal.id, factor == -1 ? "weight_sign" : "weight_rows");
    EXPECT_EQ(proposal.parameters["rows"].front(), 40);
    EXPECT_EQ(proposal.parameters["rows"].back(), 300);
    EXPECT_NEAR(proposal.parameters.value("factor", 0.0), factor, 1e-4);
  }
}

TEST_F(EstimateProjection, AWeightDownToItsCoordinates) {
  const double s = scale(kDown.weight);
  const auto flipped = [s](double weight) { return weight > 0 ? -s : weight + s; };
  // Many features behind a ReLU are zero for all tokens, and a weight that meets nothing but zeros shows nowhere.
  const Matrix x = run_.values(kDown.input);
  std::vector<std::pair<double, size_t>> busiest;
  for (size_t c = 0; c < x.n_features; ++c) {
    double sum = 0;
    for (size_t t = 0; t < x.n_tokens; ++t) {
      sum += std::abs(x.row(t)[c]);
    }
    busiest.emplace_back(-sum, c);
  }
  std::sort(busiest.begin(), busiest.end());
  const size_t a = busiest[3].second, b = busiest[7].second;

  const Proposal one = found(
      kDown, product(kDown, 127, [&](size_t r, size_t c, double w) { return r == 77 && c == a ? flipped(w) : w; }));
  EXPECT_EQ(one.id, "weight_value");
  EXPECT_EQ(one.parameters["row"], 77);
  EXPECT_EQ(one.parameters["rows"], Json({77}));
  EXPECT_EQ(one.parameters["column"], a);
  const double was = run_.steps().weight_row(tensor(kDown.weight), 77)[a];
  EXPECT_NEAR(one.parameters["delta"].get<double>(), flipped(was) - was, 0.02 * s);

  const Proposal two = found(kDown, product(kDown, 127, [&](size_t r, size_t c, double w) {
                               return r == 5 && (c == a || c == b) ? flipped(w) : w;
                             }));
  EXPECT_EQ(two.id, "weight_value");
  ASSERT_TRUE(two.parameters.contains("weights")) << two.parameters;
  EXPECT_EQ(two.parameters["weights"].size(), 2U) << two.parameters;
  EXPECT_EQ(two.parameters["rows"], Json({5}));

  const Proposal apart = found(kDown, product(kDown, 127, [&](size_t r, size_t c, double w) {
                                 return (r == 81 && c == a) || (r == 9 && c == b) ? flipped(w) : w;
                               }));
  EXPECT_EQ(apart.id, "weight_value");
  EXPECT_EQ(apart.parameters["rows"], Json({9, 81}));
}

TEST_F(EstimateProjection, RowsAndColumnsChangePlaces) {
  for (const Site& site : {kQuery, kUp}) {  // square, and not
    const gguf::Tensor& weight = tensor(site.weight);
    std::vector<double> all;
    for (size_t r = 0; r < weight.n_rows(); ++r) {
      const auto row = run_.steps().weight_row(weight, r);
      all.insert(all.end(), row.begin(), row.end());
    }
    const Proposal proposal =
        found(site, product(site, 127, [&](size_t r, size_t c, double) { return all[c * weight.n_rows() + r]; }));
    EXPECT_EQ(proposal.id, "weights_transposed") << site.stage;
  }
}

TEST_F(EstimateProjection, AnotherReadingOfTheBytes) {
  const gguf::Tensor& weight = tensor(kUp.weight);
  const double s = scale(kUp.weight);
  const auto code = [&](size_t row, size_t byte, size_t shift) {
    const auto value = std::to_integer<unsigned>(weight.data[row * weight.n_cols() / 4 + byte]);
    return static_cast<double>(value >> shift & 3U) - 1;
  };
  const Proposal blocks = found(kUp, product(kUp, 127, [&](size_t r, size_t c, double) {
                                  return s * code(r, c / 64 * 16 + c % 16, 6 - 2 * (c % 64 / 16));
                                }));
  EXPECT_EQ(blocks.id, "i2s_block_size");
  EXPECT_EQ(blocks.parameters.value("block", 0), 64);
  const Proposal order =
      found(kUp, product(kUp, 127, [&](size_t r, size_t c, double) { return s * code(r, c / 4, 2 * (c % 4)); }));
  EXPECT_EQ(order.id, "i2s_unpack_order");
  const Proposal codes = found(kUp, product(kUp, 127, [&](size_t, size_t, double w) {
                                 return w < 0 ? -1.3 * s : w > 0 ? 0.7 * s : 0.2 * s;
                               }));
  EXPECT_EQ(codes.id, "ternary_code_map");
  const auto values = codes.parameters.value("values", std::vector<double>());
  ASSERT_EQ(values.size(), 3U);
  EXPECT_NEAR(values[0], -1.3, 0.01);
  EXPECT_NEAR(values[1], 0.2, 0.01);
  EXPECT_NEAR(values[2], 0.7, 0.01);
}

TEST_F(EstimateProjection, ActivationsRoundedOtherwise) {
  const auto same = [](size_t, size_t, double w) { return w; };
  const Proposal coarse = found(kUp, product(kUp, 63, same));
  EXPECT_EQ(coarse.id, "activation_rounding");
  EXPECT_EQ(coarse.parameters.value("levels", 0), 63) << coarse.parameters;
  EXPECT_EQ(found(kUp, product(kUp, 0, same)).parameters.value("rounding", ""), "none");

  // Cut off, by a division as by a multiplication: the largest value becomes 127 or 126.
  for (const bool divides : {false, true}) {
    Matrix x = run_.values(kUp.input);
    for (size_t t = 0; t < x.n_tokens; ++t) {
      double largest = 0;
      for (const double value : x.row(t)) {
        largest = std::max(largest, std::abs(value));
      }
      for (double& value : x.row(t)) {
        value = std::trunc(divides ? value / (largest / 127) : value * (127 / largest)) * (largest / 127);
      }
    }
    Matrix y(x.n_tokens, tensor(kUp.weight).n_rows());
    for (size_t r = 0; r < y.n_features; ++r) {
      const auto row = run_.steps().weight_row(tensor(kUp.weight), r);
      for (size_t t = 0; t < x.n_tokens; ++t) {
        y.row(t)[r] = std::inner_product(row.begin(), row.end(), x.row(t).begin(), 0.0);
      }
    }
    EXPECT_EQ(found(kUp, y).parameters.value("rounding", ""), "truncated");
  }
}

TEST_F(EstimateProjection, FromRmsAlone) {
  const auto hold = that_hold(run_.facts(kKey.stage, times(run_.values(kKey.stage), 0.37), false), estimate_projection);
  const Proposal* const factor = test::find(hold, "weight_scale", "factor");
  ASSERT_NE(factor, nullptr) << test::listed(hold);
  EXPECT_NEAR(std::abs(factor->parameters.value("factor", 0.0)), 0.37, 1e-4);
  // An RMS does not show a sign.
  const auto negated =
      that_hold(run_.facts(kKey.stage, times(run_.values(kKey.stage), -1), false), estimate_projection);
  EXPECT_NE(test::find(negated, "weight_sign"), nullptr) << test::listed(negated);
}

// A reading without a number predicts the RMS.
TEST_F(EstimateProjection, ReadingsFromRmsAlone) {
  const gguf::Tensor& weight = tensor(kUp.weight);
  const double s = scale(kUp.weight);
  const auto in_blocks_of_64 = [&](size_t row, size_t c, double) {
    const std::byte byte = weight.data[row * weight.n_cols() / 4 + c / 64 * 16 + c % 16];
    return s * (static_cast<double>(std::to_integer<unsigned>(byte) >> (6 - 2 * (c % 64 / 16)) & 3U) - 1);
  };
  const auto hold = [&](const Matrix& is) { return that_hold(run_.facts(kUp.stage, is, false), estimate_projection); };
  const auto blocks = hold(product(kUp, 127, in_blocks_of_64));
  const Proposal* const found = test::find(blocks, "i2s_block_size");
  ASSERT_NE(found, nullptr) << test::listed(blocks);
  EXPECT_EQ(found->parameters.value("block", 0), 64);
  const auto codes = hold(product(kUp, 127, [&](size_t, size_t, double w) { return w + s; }));
  const Proposal* const shifted = test::find(codes, "ternary_code_map");
  ASSERT_NE(shifted, nullptr) << test::listed(codes);
  EXPECT_EQ(shifted->parameters.value("values", std::vector<double>()), (std::vector<double>{0, 1, 2}));
  const auto not_rounded = hold(product(kUp, 0, [](size_t, size_t, double w) { return w; }));
  EXPECT_NE(test::find(not_rounded, "activation_rounding"), nullptr) << test::listed(not_rounded);
}

TEST_F(EstimateProjection, NothingOfARightStage) {
  for (const Site& site : {kQuery, kKey, kUp, kDown}) {
    const auto facts = run_.facts(site.stage, run_.values(site.stage));
    EXPECT_EQ(test::listed(estimate_projection(facts)), "") << site.stage;
  }
}

TEST(EstimateHead, SoftCapAndFactor) {
  AlteredRun run;
  Matrix y = run.values("logits");
  double largest = 0;
  for (const double value : y.values) {
    largest = std::max(largest, std::abs(value));
  }
  const double cap = 0.7 * largest;
  for (double& value : y.values) {
    value = cap * std::tanh(value / cap);
  }
  const Proposal capped = simplest(run.facts("logits", y), estimate_head);
  EXPECT_EQ(capped.id, "logits_soft_cap");
  EXPECT_NEAR(capped.parameters.value("cap", 0.0), cap, 0.01 * cap);
  const Proposal scaled = simplest(run.facts("logits", times(run.values("logits"), 0.81)), estimate_head);
  EXPECT_EQ(scaled.id, "weight_scale");
  EXPECT_NEAR(scaled.parameters.value("factor", 0.0), 0.81, 1e-4);
  EXPECT_EQ(test::listed(estimate_head(run.facts("logits", run.values("logits")))), "");
}

// Where the input is known but for rounding, the logits' values still tell a factor from a cap.
TEST(EstimateHead, OnAnInputThatIsALittleOff) {
  AlteredRun run;
  const Matrix right = run.values("logits");
  double largest = 0;
  for (const double value : right.values) {
    largest = std::max(largest, std::abs(value));
  }
  const auto a_little_off = [&](const std::function<double(double)>& change) {
    Matrix y = right;
    for (size_t i = 0; i < y.values.size(); ++i) {
      y.values[i] = change(y.values[i]) * (1 + (i % 2 == 0 ? 0.02 : -0.02));
    }
    return y;
  };
  const double cap = 0.4 * largest;
  const auto capped =
      estimate_head(run.facts("logits", a_little_off([cap](double value) { return cap * std::tanh(value / cap); })));
  const Proposal* const soft_cap = test::find(capped, "logits_soft_cap");
  ASSERT_NE(soft_cap, nullptr) << test::listed(capped);
  EXPECT_NEAR(soft_cap->parameters.value("cap", 0.0), cap, 0.02 * cap);
  EXPECT_EQ(test::find(capped, "weight_scale"), nullptr) << test::listed(capped);
  const auto scaled = estimate_head(run.facts("logits", a_little_off([](double value) { return 0.19 * value; })));
  const Proposal* const factor = test::find(scaled, "weight_scale");
  ASSERT_NE(factor, nullptr) << test::listed(scaled);
  EXPECT_NEAR(factor->parameters.value("factor", 0.0), 0.19, 0.02 * 0.19);
  EXPECT_EQ(test::find(scaled, "logits_soft_cap"), nullptr) << test::listed(scaled);
}

}  // namespace
}  // namespace tern::estimate
