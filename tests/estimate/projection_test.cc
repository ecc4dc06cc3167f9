// What a product got wrong is measured, whatever the number or the row is.
#include <gtest/gtest.h>

#include <numeric>

#include "estimate/altered_projection.h"

namespace tern::estimate {
namespace {

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

// Written apart from what is tested: the numbers of the format on both sides of a scale.
struct Neighbours {
  double below, above;
  double nearest(double x) const { return x - below < above - x ? below : above; }
};
Neighbours neighbours(double scale, int significant_bits) {
  const double unit = std::exp2(std::floor(std::log2(scale)) + 1 - significant_bits);
  return {std::floor(scale / unit) * unit, std::ceil(scale / unit) * unit};
}

TEST_F(EstimateProjection, AScaleThatIsRounded) {
  int n_either = 0, n_one = 0;
  for (const Site& site : {kQuery, kKey, kUp, kDown}) {
    const double s = scale(site.weight);
    for (const std::string format : {"bfloat16", "float16"}) {
      const Neighbours both = neighbours(s, format == "bfloat16" ? 8 : 11);
      const double nearest = both.nearest(s);
      for (const double used : {both.below, both.above}) {
        if (std::abs(used / s - 1) < 1e-5) {
          continue;  // not seen
        }
        const Matrix y = times(run_.values(site.stage), used / s);
        const auto expect = [&](const Proposal& proposal) {
          EXPECT_EQ(proposal.id, "weight_scale");
          EXPECT_NEAR(proposal.parameters.value("factor", 0.0), used / s, 1e-5);
          const bool is_named = used == nearest || used == both.below;  // else rounded up, which nobody does
          EXPECT_EQ(proposal.parameters.value("format", ""), is_named ? format : "") << proposal.parameters;
          if (is_named) {
            const char* const rounding = nearest == both.below ? "nearest or truncated"
                                         : used == nearest     ? "nearest"
                                                               : "truncated";
            EXPECT_EQ(proposal.parameters.value("rounding", ""), rounding) << site.weight << " " << format;
            ++(nearest == both.below ? n_either : n_one);
          }
        };
        expect(found(site, y));
        expect(found(site, y, false));
      }
    }
  }
  EXPECT_GT(n_either, 0);
  EXPECT_GT(n_one, 0);
  // A number nearby is a number.
  const double s = scale(kUp.weight);
  const double cut = neighbours(s, 8).below / s;
  const Proposal other = found(kUp, times(run_.values(kUp.stage), 1 + (cut - 1) * 0.8));
  EXPECT_EQ(other.id, "weight_scale");
  EXPECT_FALSE(other.parameters.contains("format")) << other.parameters;
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

TEST_F(EstimateProjection, NothingOfARightStage) {
  for (const Site& site : {kQuery, kKey, kUp, kDown}) {
    const auto facts = run_.facts(site.stage, run_.values(site.stage));
    EXPECT_EQ(test::listed(estimate_projection(facts)), "") << site.stage;
    // What an RMS cannot show remains possible.
    for (const Proposal& proposal :
         that_hold(run_.facts(site.stage, run_.values(site.stage), false), estimate_projection)) {
      EXPECT_TRUE(proposal.id == "weight_sign" || proposal.id == "qk_row_permutation") << proposal.id << proposal.says;
    }
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
