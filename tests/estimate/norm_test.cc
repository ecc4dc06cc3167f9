// What a norm got wrong is measured, whatever the number is.
#include <gtest/gtest.h>

#include "estimate/altered_run.h"

namespace tern::estimate {
namespace {

constexpr double kEpsilon = static_cast<double>(1e-5F);  // as files hold it

using test::AlteredRun;
using test::simplest;
using test::that_hold;
using Values = std::vector<double>;

// Written apart from what is tested.
Matrix rms_norm(const Matrix& x, const Values& weight, double epsilon) {
  Matrix y = x;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    double sum = 0;
    for (const double value : x.row(t)) {
      sum += value * value;
    }
    const double root = std::sqrt(sum / static_cast<double>(x.n_features) + epsilon);
    for (size_t i = 0; i < x.n_features; ++i) {
      y.row(t)[i] = x.row(t)[i] / root * weight[i];
    }
  }
  return y;
}

Values changed(Values values, const std::function<double(double)>& change) {
  std::transform(values.begin(), values.end(), values.begin(), change);
  return values;
}

TEST(EstimateNorm, EpsilonOfAnyValue) {
  AlteredRun run;
  const Values weight = run.weight("blk.0.attn_norm.weight");
  for (const double epsilon : {3e-3, 1e-6, 7.3e-4, 2.5, 0.0}) {
    const auto facts = run.facts("blk0/attn_norm", rms_norm(run.values("embeddings"), weight, epsilon));
    const Proposal found = simplest(facts, estimate_norm);
    EXPECT_EQ(found.id, "norm_epsilon") << epsilon << found.parameters;
    EXPECT_NEAR(found.parameters.value("epsilon", -1.0), epsilon, 0.01 * epsilon) << found.parameters;
    EXPECT_DOUBLE_EQ(found.parameters.value("expected", -1.0), kEpsilon);
  }
}

TEST(EstimateNorm, EpsilonFromRms) {
  AlteredRun run;
  const auto facts = run.facts("blk0/attn_norm",
                               rms_norm(run.values("embeddings"), run.weight("blk.0.attn_norm.weight"), 3e-3), false);
  const auto hold = that_hold(facts, estimate_norm);
  const Proposal* const found = test::find(hold, "norm_epsilon");
  ASSERT_NE(found, nullptr) << test::listed(hold);
  EXPECT_NEAR(found->parameters.value("epsilon", -1.0), 3e-3, 3e-5);
  EXPECT_EQ(hold.front().id, "norm_epsilon") << test::listed(hold);
}

struct WeightCase {
  const char* used;
  std::function<double(double)> change;
};

TEST(EstimateNorm, WeightUsedOtherwise) {
  AlteredRun run;
  const Values weight = run.weight("blk.1.attn_sub_norm.weight");
  const std::vector<WeightCase> cases = {
      {"1", [](double) { return 1.0; }},
      {"weight + 1", [](double w) { return w + 1; }},
      {"weight^2", [](double w) { return w * w; }},
      {"-weight", [](double w) { return -w; }},
      {"1/weight", [](double w) { return 1 / w; }},
  };
  for (const WeightCase& one : cases) {
    const auto is = rms_norm(run.values("blk1/attn_out"), changed(weight, one.change), kEpsilon);
    const Proposal found = simplest(run.facts("blk1/attn_sub_norm", is), estimate_norm);
    EXPECT_EQ(found.id, "norm_weight");
    EXPECT_EQ(found.parameters.value("used", ""), one.used) << found.parameters;
  }
}

TEST(EstimateNorm, FactorAndOffsetOfAnyValue) {
  AlteredRun run;
  const Matrix x = run.values("blk1/ffn_act");
  const Values weight = run.weight("blk.1.ffn_sub_norm.weight");
  Proposal found = simplest(
      run.facts("blk1/ffn_sub_norm", rms_norm(x, changed(weight, [](double w) { return 0.37 * w; }), kEpsilon)),
      estimate_norm);
  EXPECT_EQ(found.id, "norm_weight");
  EXPECT_NEAR(found.parameters.value("factor", 0.0), 0.37, 1e-6) << found.parameters;
  found = simplest(
      run.facts("blk1/ffn_sub_norm", rms_norm(x, changed(weight, [](double w) { return w - 0.25; }), kEpsilon)),
      estimate_norm);
  EXPECT_EQ(found.id, "norm_weight");
  EXPECT_NEAR(found.parameters.value("offset", 0.0), -0.25, 1e-5) << found.parameters;
}

TEST(EstimateNorm, WeightOfAnotherLayerOrStage) {
  AlteredRun run({1, 9, 14, 3, 1000});
  for (const char* other : {"blk.4.attn_norm.weight", "blk.2.ffn_norm.weight", "output_norm.weight"}) {
    for (const char* pass : {"", "t1/"}) {
      const std::string name = std::string(pass) + "blk2/attn_norm", input = std::string(pass) + "blk1/out";
      const Proposal found =
          simplest(run.facts(name, rms_norm(run.values(input), run.weight(other), kEpsilon)), estimate_norm);
      EXPECT_EQ(found.id, "norm_weight");
      EXPECT_EQ(found.parameters.value("used", ""), other) << found.parameters;
    }
  }
}

TEST(EstimateNorm, WeightOfAnotherLayerFromRms) {
  AlteredRun run;
  const auto is = rms_norm(run.values("blk0/out"), run.weight("blk.3.attn_norm.weight"), kEpsilon);
  const auto hold = that_hold(run.facts("blk1/attn_norm", is, false), estimate_norm);
  ASSERT_FALSE(hold.empty());
  EXPECT_EQ(hold.front().parameters.value("used", ""), "blk.3.attn_norm.weight") << test::listed(hold);
}

TEST(EstimateNorm, LeftOutOrDoubled) {
  AlteredRun run;
  const Matrix x = run.values("blk4/out");
  const Values weight = run.weight("output_norm.weight");
  EXPECT_EQ(simplest(run.facts("output_norm", x), estimate_norm).id, "norm_missing");
  const auto twice = rms_norm(rms_norm(x, weight, kEpsilon), weight, kEpsilon);
  EXPECT_EQ(simplest(run.facts("output_norm", twice), estimate_norm).id, "norm_doubled");
}

TEST(EstimateNorm, OtherDivisors) {
  AlteredRun run;
  const Matrix x = run.values("blk2/attn_out");
  const Values weight = run.weight("blk.2.attn_sub_norm.weight");
  Matrix centred = x, by_head(x.n_tokens * 4, 64);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    double mean = 0;
    for (const double value : x.row(t)) {
      mean += value / static_cast<double>(x.n_features);
    }
    for (double& value : centred.row(t)) {
      value -= mean;
    }
  }
  Proposal found = simplest(run.facts("blk2/attn_sub_norm", rms_norm(centred, weight, kEpsilon)), estimate_norm);
  EXPECT_EQ(found.id, "norm_function");
  EXPECT_EQ(found.parameters.value("function", ""), "LayerNorm");

  by_head.values = x.values;
  Matrix is = x;
  is.values = rms_norm(by_head, Values(64, 1.0), kEpsilon).values;
  for (size_t t = 0; t < is.n_tokens; ++t) {
    std::transform(weight.begin(), weight.end(), is.row(t).begin(), is.row(t).begin(), std::multiplies<>());
  }
  found = simplest(run.facts("blk2/attn_sub_norm", is), estimate_norm);
  EXPECT_EQ(found.id, "norm_axis");
  EXPECT_EQ(found.parameters["over"], 64);
}

TEST(EstimateNorm, FewValuesOfTheWeight) {
  AlteredRun run;
  Values weight = run.weight("blk.3.ffn_norm.weight");
  weight[17] = -3.5;
  weight[200] = 0;
  const Proposal found =
      simplest(run.facts("blk3/ffn_norm", rms_norm(run.values("blk3/ffn_inp"), weight, kEpsilon)), estimate_norm);
  EXPECT_EQ(found.id, "weight_value");
  EXPECT_EQ(found.parameters["features"], Json({17, 200}));
  EXPECT_NEAR(found.parameters["used"][0], -3.5, 1e-5);
}

TEST(EstimateNorm, HalfOfTheWeight) {
  AlteredRun run;
  Values weight = run.weight("blk.3.ffn_norm.weight");
  std::fill(weight.begin() + 128, weight.end(), 0.0);
  const Proposal found =
      simplest(run.facts("blk3/ffn_norm", rms_norm(run.values("blk3/ffn_inp"), weight, kEpsilon)), estimate_norm);
  EXPECT_EQ(found.id, "weight_value");
  EXPECT_EQ(found.parameters["first_feature"], 128) << found.parameters;
  EXPECT_EQ(found.parameters["n_features"], 128);
}

TEST(EstimateNorm, NothingIsWrongWithARightOne) {
  test::expect_nothing_proposed(trace::StageKind::kNorm, estimate_norm);
}

}  // namespace
}  // namespace tern::estimate
