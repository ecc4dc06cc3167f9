// Which function was applied, to which of gate and up, and where it was clamped, is measured.
#include <gtest/gtest.h>

#include "estimate/altered_run.h"

namespace tern::estimate {
namespace {

using test::AlteredRun;
using test::simplest;
using test::that_hold;

using Of = std::function<double(double gate, double up)>;

double relu2(double x) { return x > 0 ? x * x : 0; }

class EstimateActivation : public testing::Test {
 protected:
  StageFacts facts(const std::string& pass, const Of& of, bool with_values = true) {
    Matrix out = run_.values(pass + "blk2/gate_proj");
    const Matrix up = run_.values(pass + "blk2/up_proj");
    for (size_t i = 0; i < out.values.size(); ++i) {
      out.values[i] = of(out.values[i], up.values[i]);
    }
    return run_.facts(pass + "blk2/ffn_act", out, with_values);
  }
  Proposal found(const Of& of) {
    const Proposal in_prompt = simplest(facts("", of), estimate_activation);
    const Proposal in_decode = simplest(facts("t1/", of), estimate_activation);
    EXPECT_EQ(in_prompt.id, in_decode.id);
    return in_prompt;
  }
  AlteredRun run_;
};

TEST_F(EstimateActivation, Functions) {
  const std::vector<std::pair<std::string, double (*)(double)>> functions = {
      {"relu", [](double x) { return x > 0 ? x : 0; }},
      {"silu", [](double x) { return x / (1 + std::exp(-x)); }},
      {"gelu", [](double x) { return x * 0.5 * std::erfc(-x / std::sqrt(2.0)); }},
      {"gelu_tanh", [](double x) { return x / (1 + std::exp(-1.5957691216057308 * (x + 0.044715 * x * x * x))); }},
      {"gelu_quick", [](double x) { return x / (1 + std::exp(-1.702 * x)); }},
      {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"tanh", [](double x) { return 1 - 2 / (std::exp(2 * x) + 1); }},
      {"identity", [](double x) { return x; }},
      {"square", [](double x) { return x * x; }},
  };
  for (const auto& [name, function] : functions) {
    const Proposal one = found([f = function](double gate, double up) { return f(gate) * up; });
    EXPECT_EQ(one.id, "activation_function");
    EXPECT_EQ(one.parameters.value("function", ""), name) << one.parameters;
    EXPECT_EQ(one.parameters.value("expected", ""), "relu_squared");
  }
}

TEST_F(EstimateActivation, FunctionsWithANumber) {
  Proposal one = found([](double gate, double up) { return gate > 0 ? std::pow(gate, 1.5) * up : 0; });
  EXPECT_NEAR(one.parameters.value("power", 0.0), 1.5, 1e-3) << one.parameters;
  one = found([](double gate, double up) { return (gate > 0 ? gate : 0.03 * gate) * up; });
  EXPECT_NEAR(one.parameters.value("slope", 0.0), 0.03, 1e-4) << one.parameters;
  one = found([](double gate, double up) { return gate / (1 + std::exp(-2.4 * gate)) * up; });
  EXPECT_NEAR(one.parameters.value("beta", 0.0), 2.4, 1e-3) << one.parameters;
}

TEST_F(EstimateActivation, GateAndUp) {
  EXPECT_EQ(found([](double gate, double up) { return relu2(up) * gate; }).id, "weights_swapped");
  Proposal one = found([](double gate, double) { return relu2(gate); });
  EXPECT_EQ(one.id, "activation_function");
  EXPECT_EQ(one.parameters.value("missing", ""), "up") << one.parameters;
  one = found([](double gate, double up) { return up / (1 + std::exp(-up)) * gate; });
  EXPECT_EQ(one.id, "weights_swapped");
  EXPECT_EQ(one.parameters.value("function", ""), "silu") << one.parameters;
}

TEST_F(EstimateActivation, FactorOfAnyValue) {
  const Of of = [](double gate, double up) { return 0.37 * relu2(gate) * up; };
  const Proposal one = found(of);
  EXPECT_EQ(one.id, "activation_factor");
  EXPECT_NEAR(one.parameters.value("factor", 0.0), 0.37, 1e-6);
}

TEST_F(EstimateActivation, Clamps) {
  const Proposal gate =
      simplest(facts("", [](double g, double up) { return relu2(std::min(g, 0.61)) * up; }), estimate_activation);
  EXPECT_EQ(gate.id, "activation_clamp");
  EXPECT_EQ(gate.parameters.value("clamped", ""), "gate") << gate.parameters;
  EXPECT_NEAR(gate.parameters.value("limit", 0.0), 0.61, 1e-3);
  const Proposal up = simplest(facts("", [](double g, double u) { return relu2(g) * std::clamp(u, -0.52, 0.52); }),
                               estimate_activation);
  EXPECT_EQ(up.parameters.value("clamped", ""), "up") << up.parameters;
  EXPECT_NEAR(up.parameters.value("limit", 0.0), 0.52, 1e-3);
  for (const double limit : {0.4, 0.001}) {  // of some outputs, and of nearly all
    const Proposal output =
        simplest(facts("", [limit](double g, double u) { return std::clamp(relu2(g) * u, -limit, limit); }),
                 estimate_activation);
    EXPECT_EQ(output.parameters.value("clamped", ""), "output") << output.parameters;
    EXPECT_NEAR(output.parameters.value("limit", 0.0), limit, 1e-3 * limit);
  }
}

// A clamp that few of many tokens meet.
TEST(EstimateActivationOfManyTokens, Clamp) {
  std::vector<int32_t> prompt(70);
  for (size_t i = 0; i < prompt.size(); ++i) {
    prompt[i] = static_cast<int32_t>(37 * i % 2000);
  }
  AlteredRun run(prompt, {});
  Matrix out = run.values("blk2/gate_proj");
  const Matrix up = run.values("blk2/up_proj");
  double largest = 0;
  for (const double gate : out.values) {
    largest = std::max(largest, gate);
  }
  size_t n_clamped = 0;
  const double limit = 0.9 * largest;
  for (size_t i = 0; i < out.values.size(); ++i) {
    n_clamped += out.values[i] > limit;
    out.values[i] = relu2(std::min(out.values[i], limit)) * up.values[i];
  }
  ASSERT_GT(n_clamped, 0U);
  ASSERT_LT(n_clamped, 20U);
  const Proposal found = simplest(run.facts("blk2/ffn_act", out), estimate_activation);
  EXPECT_EQ(found.id, "activation_clamp");
  EXPECT_NEAR(found.parameters.value("limit", 0.0), limit, 1e-3 * limit) << found.parameters;
}

TEST_F(EstimateActivation, FunctionFromRms) {
  for (const bool swapped : {false, true}) {
    const auto hold = that_hold(
        facts(
            "", [&](double g, double u) { return swapped ? relu2(u) * g : g / (1 + std::exp(-g)) * u; }, false),
        estimate_activation);
    ASSERT_FALSE(hold.empty());
    EXPECT_EQ(hold.front().id, swapped ? "weights_swapped" : "activation_function") << test::listed(hold);
    EXPECT_EQ(hold.front().parameters.value("function", "none"), swapped ? "none" : "silu") << test::listed(hold);
  }
}

TEST_F(EstimateActivation, NothingIsWrongWithARightOne) {
  test::expect_nothing_proposed(trace::StageKind::kActivation, estimate_activation);
}

}  // namespace
}  // namespace tern::estimate
