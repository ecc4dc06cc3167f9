// How RoPE turned each pair is measured, whatever the numbers are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numbers>

#include "estimate/altered_run.h"

namespace tern::estimate {
namespace {

using test::AlteredRun;
using test::simplest;

struct WrongTurn {
  double base = 1e4;
  size_t head = 64, width = 64;
  size_t exponent_width = 0;  // 0: as `width`
  bool halves = true;
  double magnitude = 1;
  std::function<double(size_t t)> position = [](size_t t) { return static_cast<double>(t); };
  std::function<double(size_t i, double frequency)> scaled = [](size_t, double frequency) { return frequency; };
};

// Written apart from what is tested.
Matrix turned(const Matrix& x, const WrongTurn& wrong) {
  Matrix y = x;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t head = 0; head < x.n_features; head += wrong.head) {
      for (size_t i = 0; i < wrong.width / 2; ++i) {
        const size_t exponent_width = wrong.exponent_width > 0 ? wrong.exponent_width : wrong.width;
        const double frequency =
            wrong.scaled(i, std::pow(wrong.base, -2.0 * static_cast<double>(i) / static_cast<double>(exponent_width)));
        const double angle = wrong.position(t) * frequency;
        const size_t a = head + (wrong.halves ? i : 2 * i), b = wrong.halves ? a + wrong.width / 2 : a + 1;
        y.row(t)[a] = wrong.magnitude * (x.row(t)[a] * std::cos(angle) - x.row(t)[b] * std::sin(angle));
        y.row(t)[b] = wrong.magnitude * (x.row(t)[a] * std::sin(angle) + x.row(t)[b] * std::cos(angle));
      }
    }
  }
  return y;
}

class EstimateRope : public testing::Test {
 protected:
  Proposal of_queries(const WrongTurn& wrong) {
    return simplest(run_.facts("blk2/q_rope", turned(run_.values("blk2/q_proj"), wrong)), estimate_rope);
  }
  Proposal of_a_decode_step(WrongTurn wrong) {
    const auto position = wrong.position;
    wrong.position = [position](size_t t) { return position(t + 13); };
    return simplest(run_.facts("t2/blk2/k_rope", turned(run_.values("t2/blk2/k_proj"), wrong)), estimate_rope);
  }
  AlteredRun run_;
};

TEST_F(EstimateRope, BaseOfAnyValue) {
  for (const double base : {1.3e6, 500000.0, 37.5, 9990.0, 8e6}) {
    for (const Proposal& found : {of_queries({.base = base}), of_a_decode_step({.base = base})}) {
      EXPECT_EQ(found.id, "rope_base") << found.parameters;
      EXPECT_NEAR(found.parameters.value("rope_base", 0.0), base, 0.001 * base) << found.parameters;
    }
  }
}

TEST_F(EstimateRope, FewTokens) {
  AlteredRun few({1, 5, 9, 700, 31});
  const auto facts = few.facts("blk0/q_rope", turned(few.values("blk0/q_proj"), {.base = 1.3e6}));
  const Proposal found = simplest(facts, estimate_rope);
  EXPECT_EQ(found.id, "rope_base");
  EXPECT_NEAR(found.parameters.value("rope_base", 0.0), 1.3e6, 1e4);
}

TEST_F(EstimateRope, Pairing) {
  Proposal found = of_queries({.halves = false});
  EXPECT_EQ(found.id, "rope_pairing");
  EXPECT_EQ(found.parameters.value("pairs", ""), "neighbours");
  found = of_queries({.base = 2.2e5, .halves = false});
  EXPECT_EQ(found.id, "rope_base");
  EXPECT_EQ(found.parameters.value("pairs", ""), "neighbours") << found.parameters;
}

TEST_F(EstimateRope, Positions) {
  for (const Proposal& found : {of_queries({.position = [](size_t t) { return static_cast<double>(t) + 3; }}),
                                of_a_decode_step({.position = [](size_t t) { return static_cast<double>(t) + 3; }})}) {
    EXPECT_EQ(found.id, "rope_position") << found.parameters;
    EXPECT_NEAR(found.parameters.value("offset", 0.0), 3, 1e-4) << found.parameters;
  }
  Proposal found;
  for (const double factor : {3.5, 3.3, 0.7, 0.5164828781775758}) {
    found = of_queries({.position = [factor](size_t t) { return static_cast<double>(t) / factor; }});
    EXPECT_EQ(found.id, "rope_scaling");
    EXPECT_EQ(found.parameters.value("type", ""), "linear");
    EXPECT_NEAR(found.parameters.value("factor", 0.0), factor, 1e-4) << found.parameters;
  }
  found = of_queries({.position = [](size_t t) { return -static_cast<double>(t); }});
  EXPECT_EQ(found.id, "rope_direction");
  found = of_queries({.position = [](size_t) { return 0.0; }});
  EXPECT_EQ(found.id, "rope_missing");
  found = of_queries({.position = [](size_t t) { return static_cast<double>(t * t % 7); }});
  EXPECT_EQ(found.id, "rope_position");
  EXPECT_EQ(found.parameters["positions"][5], 4) << found.parameters;
}

TEST_F(EstimateRope, PartOfTheHead) {
  for (size_t width = 2; width < 64; width += 14) {
    for (const Proposal& found : {of_queries({.width = width}), of_a_decode_step({.width = width})}) {
      EXPECT_EQ(found.id, "rope_partial") << width;
      EXPECT_EQ(found.parameters["features"], width) << found.parameters;
      EXPECT_FALSE(found.parameters.contains("exponent_width")) << found.parameters;
    }
  }
  const Proposal found = of_queries({.head = 32, .width = 32});
  EXPECT_EQ(found.id, "rope_partial");
  EXPECT_EQ(found.parameters["head"], 32) << found.parameters;
}

TEST_F(EstimateRope, PartOfTheHeadWithTheFrequenciesOfAll) {
  for (const size_t width : {size_t{10}, size_t{44}, size_t{62}}) {
    const Proposal found = of_queries({.width = width, .exponent_width = 64});
    EXPECT_EQ(found.id, "rope_partial");
    EXPECT_EQ(found.parameters["features"], width) << found.parameters;
    EXPECT_EQ(found.parameters["exponent_width"], 64) << found.parameters;
  }
}

TEST_F(EstimateRope, PartOfTheHeadPairedOtherwise) {
  for (const size_t width : {size_t{22}, size_t{44}}) {
    const Proposal found = of_queries({.width = width, .halves = false});
    EXPECT_EQ(found.id, "rope_pairing");
    EXPECT_EQ(found.parameters["pairs"], "neighbours") << found.parameters;
    const auto y = found.recompute(run_.facts("blk2/q_rope", run_.values("blk2/q_rope")));
    ASSERT_TRUE(y);
    const Matrix x = run_.values("blk2/q_proj");
    EXPECT_EQ(y->row(3)[width], x.row(3)[width]);
    EXPECT_NE(y->row(3)[width - 1], x.row(3)[width - 1]);
  }
}

TEST_F(EstimateRope, PartOfThePairs) {
  for (const size_t n : {size_t{2}, size_t{11}}) {
    const WrongTurn wrong{.scaled = [n](size_t i, double frequency) { return i < n ? frequency : 0; }};
    for (const Proposal& found : {of_queries(wrong), of_a_decode_step(wrong)}) {
      EXPECT_EQ(found.id, "rope_partial") << found.parameters;
      EXPECT_EQ(found.parameters.value("pairs_turned", size_t{0}), n) << found.parameters;
    }
  }
}

TEST_F(EstimateRope, FactorsOfEachFrequency) {
  const auto llama3 = [](double factor, double low, double high, double context) {
    return [=](size_t, double frequency) {
      const double wavelength = 2 * std::numbers::pi / frequency;
      if (wavelength < context / high) {
        return frequency;
      }
      if (wavelength > context / low) {
        return frequency / factor;
      }
      const double smooth = (context / wavelength - low) / (high - low);
      return (1 - smooth) * frequency / factor + smooth * frequency;
    };
  };
  Proposal found = of_queries({.scaled = llama3(11, 1, 4, 8192)});
  EXPECT_EQ(found.id, "rope_scaling");
  EXPECT_EQ(found.parameters.value("type", ""), "llama3") << found.parameters;
  EXPECT_NEAR(found.parameters.value("factor", 0.0), 11, 0.1) << found.parameters;
  found = of_queries({.scaled = llama3(6, 1, 5, 700)});
  EXPECT_EQ(found.id, "rope_scaling");
  EXPECT_EQ(found.parameters.value("type", ""), "llama3") << found.parameters;
  EXPECT_NEAR(found.parameters.value("factor", 0.0), 6, 0.1) << found.parameters;
  EXPECT_NEAR(found.parameters.value("context", 0.0), 700, 10) << found.parameters;

  // Many pairs in between or few, or one, or none.
  for (const double context : {54.0, 114.0, 318.0, 777.0, 3000.0}) {
    found = of_queries({.scaled = llama3(10.4961, 1, 4, context)});
    EXPECT_EQ(found.id, "rope_scaling");
    EXPECT_THAT(found.parameters.value("type", ""), testing::AnyOf("llama3", "yarn")) << found.parameters;
    EXPECT_NEAR(found.parameters.value("factor", 0.0), 10.4961, 1e-3) << found.parameters;
  }
  const double factor = 7, magnitude = 1 + 0.1 * std::log(factor);
  found = of_queries({.magnitude = magnitude, .scaled = [factor](size_t i, double frequency) {
                        const double ramp = std::clamp((static_cast<double>(i) - 3) / 8, 0.0, 1.0);
                        return frequency / factor * ramp + frequency * (1 - ramp);
                      }});
  EXPECT_EQ(found.id, "rope_scaling");
  EXPECT_EQ(found.parameters.value("type", ""), "yarn") << found.parameters;
  EXPECT_NEAR(found.parameters.value("factor", 0.0), factor, 0.1) << found.parameters;
  EXPECT_NEAR(found.parameters.value("magnitude", 0.0), magnitude, 1e-4) << found.parameters;
}

TEST_F(EstimateRope, BaseFromAPositionOn) {
  const Matrix x = run_.values("blk2/q_proj"), wrong = turned(x, {.base = 13337});
  for (const size_t from : {size_t{2}, size_t{7}, size_t{11}}) {
    Matrix y = turned(x, {});
    for (size_t t = from; t < x.n_tokens; ++t) {
      std::copy_n(wrong.row(t).begin(), x.n_features, y.row(t).begin());
    }
    const Proposal found = simplest(run_.facts("blk2/q_rope", y), estimate_rope);
    EXPECT_EQ(found.id, "rope_base");
    EXPECT_NEAR(found.parameters.value("rope_base", 0.0), 13337, 1) << found.parameters;
    EXPECT_EQ(found.parameters["positions"], Json::array({from, nullptr})) << found.parameters;
  }
}

TEST_F(EstimateRope, PositionsOfEachHead) {
  const Matrix x = run_.values("blk2/q_proj");
  const auto by_head = [&](const std::function<double(size_t head, size_t t)>& position) {
    Matrix y = x;
    for (size_t h = 0; h < test::kHeads; ++h) {
      const Matrix of_head = turned(x, {.position = [&](size_t t) { return position(h, t); }});
      for (size_t t = 0; t < x.n_tokens; ++t) {
        std::copy_n(of_head.row(t).begin() + static_cast<std::ptrdiff_t>(h * test::kWidth), test::kWidth,
                    y.row(t).begin() + static_cast<std::ptrdiff_t>(h * test::kWidth));
      }
    }
    return simplest(run_.facts("blk2/q_rope", y), estimate_rope);
  };
  Proposal found = by_head([](size_t head, size_t) { return static_cast<double>(head); });
  EXPECT_EQ(found.id, "rope_position");
  for (size_t h = 0; h < test::kHeads; ++h) {
    EXPECT_NEAR(found.parameters["position_of_each_head"][h].get<double>(), static_cast<double>(h), 1e-6);
  }
  found = by_head([](size_t head, size_t t) { return static_cast<double>(t) / static_cast<double>(1 + head); });
  EXPECT_EQ(found.id, "rope_position");
  for (size_t h = 0; h < test::kHeads; ++h) {
    EXPECT_NEAR(found.parameters["factor_of_each_head"][h].get<double>(), 1 / static_cast<double>(1 + h), 1e-6);
  }
}

TEST_F(EstimateRope, LengthFromRms) {
  const auto facts = run_.facts("blk2/q_rope", turned(run_.values("blk2/q_proj"), {.magnitude = 1.19}), false);
  const Proposal found = simplest(facts, estimate_rope);
  EXPECT_EQ(found.id, "rope_scaling");
  EXPECT_NEAR(found.parameters.value("magnitude", 0.0), 1.19, 1e-4);
}

TEST_F(EstimateRope, NothingIsWrongWithARightOne) {
  test::expect_nothing_proposed(trace::StageKind::kRope, estimate_rope);
}

}  // namespace
}  // namespace tern::estimate
