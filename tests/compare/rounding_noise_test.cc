#include "tern/compare/rounding_noise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "compare/run_builder.h"
#include "tern/compare/distance.h"

namespace tern::compare {
namespace {

using test::RunBuilder;

RunBuilder one_pass(const std::map<std::string, float>& factors = {}) {
  RunBuilder run;
  run.generated_tokens = {3};
  run.max_tokens = 1;
  for (const char* name : {"blk0/q_proj", "blk1/q_proj", "blk1/out"}) {
    const auto factor = factors.find(name);
    run.tensors[name] = std::vector<float>(64, factor == factors.end() ? 1.0F : factor->second);
  }
  return run;
}

class RoundingNoiseTest : public testing::Test {
 protected:
  trace::EngineRun built(const std::map<std::string, float>& factors) { return one_pass(factors).build(folder_); }
  static trace::TensorId id(const char* name) { return *trace::TensorId::parse(name); }

  test::TemporaryFolder folder_;
  trace::EngineRun oracle_ = one_pass().build(folder_);
};

TEST_F(RoundingNoiseTest, WithoutSamplesAnRmsMayBeOffByAsMuchAsTheValues) {
  const RoundingNoise noise(oracle_, built({{"blk0/q_proj", 1.01F}}));
  EXPECT_NEAR(noise.bound(id("blk0/q_proj"))->relative, 4 * 0.01, 1e-6);
  EXPECT_EQ(noise.bound(id("blk0/q_proj"))->rms, noise.bound(id("blk0/q_proj"))->relative);
  EXPECT_FALSE(noise.rms_deviation(id("blk0/q_proj")));
  EXPECT_FALSE(noise.bound(id("blk0/k_proj")));
}

// 5 samples of one token: 1 + 12 / 5 times their root mean square.
TEST_F(RoundingNoiseTest, TheDeviationIsThatOfTheSamplesAndGrowsWithTheirFewness) {
  RoundingNoise noise(oracle_, built({{"blk0/q_proj", 1.01F}}));
  double squares = 0;
  for (const float off : {1e-3F, -2e-3F, 3e-3F, -1e-3F, 2e-3F}) {
    noise.include_rms(oracle_, built({{"blk0/q_proj", 1 + off}}));
    squares += static_cast<double>(off) * static_cast<double>(off);
  }
  const double deviation = 3.4 * std::sqrt(squares / 5);
  EXPECT_NEAR(*noise.rms_deviation(id("blk0/q_proj")), deviation, 0.01 * deviation);
  EXPECT_NEAR(noise.bound(id("blk0/q_proj"))->rms, 6 * deviation, 0.06 * deviation);
  EXPECT_NEAR(*noise.rms_deviation(id("blk1/q_proj")), deviation, 0.01 * deviation);  // noise grows from layer to layer
  EXPECT_LT(*noise.rms_deviation(id("blk1/out")), 1e-5);                              // another stage
}

// Errors that differ from value to value cancel in the RMS, though the values are far off.
TEST_F(RoundingNoiseTest, AnRmsIsHeldMoreNarrowlyThanValues) {
  RunBuilder alternating = one_pass();
  for (size_t i = 0; i < 64; ++i) {
    alternating.tensors["blk0/q_proj"][i] += i % 2 == 0 ? 1e-3F : -1e-3F;
  }
  const trace::EngineRun rounded = alternating.build(folder_);
  RoundingNoise noise(oracle_, rounded);
  noise.include_rms(oracle_, rounded);
  EXPECT_NEAR(noise.bound(id("blk0/q_proj"))->relative, 4e-3, 1e-5);
  EXPECT_LT(noise.bound(id("blk0/q_proj"))->rms, 1e-4);
}

TEST_F(RoundingNoiseTest, WhatWasGivenIsNotSampled) {
  RoundingNoise noise(oracle_, built({{"blk0/q_proj", 1.01F}}));
  noise.include_rms(oracle_, built({{"blk0/q_proj", 1.01F}, {"blk1/q_proj", 1.001F}}), id("blk1/q_proj"));
  EXPECT_FALSE(noise.rms_deviation(id("blk0/q_proj")));
  EXPECT_LT(*noise.rms_deviation(id("blk1/q_proj")), 0.02);  // 13 times 0.1 %, without the 1 % before
}

TEST(RmsPrecision, IsTheLastDigitThatARunStates) {
  const test::TemporaryFolder folder;
  RunBuilder run = one_pass({{"blk0/q_proj", 0.12345678F}, {"blk1/q_proj", 12.345678F}});
  const auto half_unit = [&](double rms) {
    const trace::EngineRun built = run.build(folder);
    return RmsPrecision(&built).half_unit(rms);
  };
  EXPECT_LT(half_unit(0.1), 1e-15);
  run.rms_digits = 4;  // 0.1235, 12.35, 1
  EXPECT_NEAR(half_unit(0.1235), 0.5e-4, 1e-9);
  EXPECT_NEAR(half_unit(12.35), 0.5e-2, 1e-9);
}

}  // namespace
}  // namespace tern::compare
