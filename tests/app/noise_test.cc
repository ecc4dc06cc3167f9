#include "tern/app/noise.h"

#include <gtest/gtest.h>

#include "tern/compare/isolation.h"

namespace tern::app {
namespace {

Noise of_two_engines() {
  Noise noise;
  noise.engines = {"scalar", "avx2"};
  NoiseOfStage& stage = noise.stages[trace::Stage::kQProj];
  stage.floors = {3e-8, 1e-8, 2e-8};
  stage.inherited = 1e-3;
  stage.multiples = {{"scalar", 0.5}};
  return noise;
}

TEST(Noise, TheTableHasTheMedianAndTheLargestFloorOfAStage) {
  EXPECT_EQ(noise_text(of_two_engines()),
            "| stage | floor, usual | floor, largest | inherited, float16 | scalar | avx2 |\n"
            "| --- | --- | --- | --- | --- | --- |\n"
            "| q_proj | 2.0e-08 | 3.0e-08 | 1.0e-03 | 0.50 | - |\n"
            "\n"
            "largest multiple of a floor: 0.50; 4 would be wrong\n");
}

TEST(Noise, AMultipleBeyondWhatTheVerdictAllowsIsNotRounding) {
  Noise noise = of_two_engines();
  EXPECT_TRUE(noise.is_within_rounding());
  noise.stages[trace::Stage::kQProj].multiples["avx2"] = 1.01 * compare::kFloorAllowance;
  EXPECT_FALSE(noise.is_within_rounding());
  EXPECT_DOUBLE_EQ(noise.largest_multiple(), 1.01 * compare::kFloorAllowance);
}

}  // namespace
}  // namespace tern::app
