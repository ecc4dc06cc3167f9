// The cause of whole runs with one fault or two, from what there is of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "estimate/altered_run.h"
#include "tern/estimate/explain.h"
#include "tern/estimate/substituted_pass.h"
#include "tern/oracle/workbench.h"

namespace tern::estimate {
namespace {

using oracle::Oracle;
using oracle::Workbench;
using testing::HasSubstr;
using trace::Stage;
using trace::TensorId;

const std::vector<int32_t> kRunPrompt = {1, 5, 900, 33, 1207, 64, 5, 18, 411, 77, 1500, 2}, kRunFed = {40, 8};

class ExplainRuns : public testing::Test {
 protected:
  ExplainRuns() {
    auto view = gguf::View::open(test::bundled_model_dir() / "tern-tiny-i2_s.gguf");
    TERN_CHECK(view.has_value());
    view_ = std::make_unique<gguf::View>(std::move(*view));
    auto steps = oracle::Steps::load(*view_);
    TERN_CHECK(steps.has_value());
    steps_ = std::make_unique<oracle::Steps>(std::move(*steps));
    auto plain = plain_oracle({});
    exact_ = run_of(plain, true);
  }

  Oracle plain_oracle(const oracle::Settings& settings) const {
    auto oracle = Oracle::load(*view_, settings);
    TERN_CHECK(oracle.has_value());
    return std::move(*oracle);
  }

  trace::EngineRun run_of(Oracle& engine, bool with_values) {
    const auto path = folder_.path() / ("run" + std::to_string(n_runs_++));
    auto recorder = trace::FolderRecorder::create(path, trace::TraceForm::kList);
    TERN_CHECK(recorder && (!with_values || (*recorder)->dump_values(path / "tensors.safetensors", 1 << 12)));
    test::evaluate_all(engine, kRunPrompt, kRunFed, recorder->get());
    return test::finished_run(**recorder, path, kRunPrompt, kRunFed);
  }

  // An engine that changes these stages, without values.
  trace::EngineRun faulty(std::vector<Stage> stages, Workbench::Change change) {
    std::vector<int32_t> tokens = kRunPrompt;
    tokens.insert(tokens.end(), kRunFed.begin(), kRunFed.end());
    Workbench bench(plain_oracle({}), oracle::kFloat32Evaluations[1], std::move(tokens), std::move(stages), {},
                    std::move(change));
    return run_of(bench, false);
  }

  std::optional<outcome::Cause> cause_by_rms(const trace::EngineRun& run) {
    std::optional<compare::RoundingNoise> noise;
    for (const int bits : {11, 9, 10, 12, 13}) {
      oracle::Settings settings;
      settings.significant_bits = bits;
      auto coarse = plain_oracle(settings);
      const trace::EngineRun rounded = run_of(coarse, true);
      noise = noise ? noise : std::optional(compare::RoundingNoise(exact_, rounded));
      noise->include_rms(exact_, rounded);
    }
    const compare::RunToArbitrate side{&run, nullptr};
    arbitration_ = compare::arbitrate({side, {}}, exact_, *noise);
    WrongSide wrong;
    wrong.side = side;
    wrong.exact = &exact_;
    wrong.noise = &*noise;
    wrong.arbitration = &arbitration_;
    Json tried;
    auto cause = explain(wrong, *steps_, tried);
    TERN_CHECK(cause.has_value());
    return *cause;
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<gguf::View> view_;
  std::unique_ptr<oracle::Steps> steps_;
  trace::EngineRun exact_;
  compare::Arbitration arbitration_;
  int n_runs_ = 0;
};

// Of a kind that ExplainRuns has already: too many passes for a run under sanitizers.
class ExplainRunsDeep : public ExplainRuns {};

void negate(Workbench::Matrix& matrix) {
  for (double& value : matrix.values) {
    value = -value;
  }
}

// A sign leaves the RMS as it is: that of the scores shows it, and the cause is where they come from.
TEST_F(ExplainRuns, ByRmsThePlaceIsWhereTheCauseBegins) {
  const trace::EngineRun run = faulty({Stage::kVProj}, [](const auto&, const auto& place, auto& result) {
    if (place.layer == 1) {
      negate(result);
    }
  });
  const auto cause = cause_by_rms(run);
  ASSERT_TRUE(cause);
  EXPECT_GT(*arbitration_.first_wrong.subject.first(), *TensorId::parse("blk1/v_proj"));
  EXPECT_EQ(cause->id, "weight_sign");
  EXPECT_EQ(cause->name, "blk1/v_proj");
  EXPECT_EQ(cause->parameters["weight"], "blk.1.attn_v.weight");
  EXPECT_THAT(cause->unexplained, testing::IsEmpty());
  EXPECT_THAT(cause->evidence, HasSubstr("have an RMS within what rounding explains of it ("));
}

TEST_F(ExplainRuns, ByRmsWhatACauseLeavesWrongIsListed) {
  const trace::EngineRun run =
      faulty({Stage::kDownProj, Stage::kOutputNorm}, [](const auto&, const auto& place, auto& result) {
        for (double& value : result.values) {
          value *= place.layer == 1 ? 3 : place.layer < 0 ? 1.5 : 1;
        }
      });
  const auto cause = cause_by_rms(run);
  ASSERT_TRUE(cause);
  EXPECT_EQ(cause->id, "weight_scale");
  EXPECT_EQ(cause->name, "blk1/down_proj");
  EXPECT_NEAR(cause->parameters["factor"].get<double>(), 3, 0.01);
  ASSERT_FALSE(cause->unexplained.empty());
  EXPECT_EQ(cause->unexplained.front(), "output_norm");
  EXPECT_THAT(cause->evidence, HasSubstr("more than rounding explains, from output_norm on"));
}

// Bases near the right one leave the RMS of scores nearly as it is.
TEST_F(ExplainRunsDeep, ByRmsARopeBaseIsARange) {
  constexpr double kBase = 123456;
  const trace::EngineRun run =
      faulty({Stage::kQRope, Stage::kKRope}, [](const Workbench& bench, const auto& place, auto& result) {
        Workbench::RopeRule rule = bench.rope_rule();
        rule.angle = [width = bench.model().head_dim](double position, size_t pair) {
          return position * std::pow(kBase, -2.0 * static_cast<double>(pair) / width);
        };
        result = bench.turned_by(bench.of(place.stage == Stage::kQRope ? Stage::kQProj : Stage::kKProj), rule);
      });
  const auto cause = cause_by_rms(run);
  ASSERT_TRUE(cause);
  EXPECT_EQ(cause->id, "rope_base");
  const auto base = cause->parameters["rope_base"].get<double>();
  const auto low = cause->parameters["rope_base_range"][0].get<double>();
  const auto high = cause->parameters["rope_base_range"][1].get<double>();
  EXPECT_LT(low, kBase);
  EXPECT_GT(high, kBase);
  EXPECT_LT(low, base);
  EXPECT_GT(high, base);
  EXPECT_LE(cause->confidence, outcome::kMostConfidenceByRms * low / high);
  EXPECT_THAT(cause->evidence, HasSubstr("(RMS allows "));
}

TEST_F(ExplainRuns, ByRmsNormsThatAreExchangedInEveryLayerAreOneCause) {
  const Stage both[] = {Stage::kAttnNorm, Stage::kFfnNorm};
  const trace::EngineRun run = faulty({both[0], both[1]}, [&](const auto& bench, const auto& place, auto& result) {
    const Stage other = place.stage == both[0] ? both[1] : both[0];
    result = bench.normed(bench.input(place), bench.norm_weight(other, place.layer), bench.model().norm_epsilon);
  });
  const auto cause = cause_by_rms(run);
  ASSERT_TRUE(cause);
  EXPECT_EQ(cause->id, "norm_weight");
  EXPECT_EQ(cause->name, "blk0/attn_norm");
  ASSERT_TRUE(cause->parameters.contains("weights")) << cause->parameters << cause->evidence;
  EXPECT_EQ(cause->parameters["weights"].size(), 10U);
  EXPECT_EQ(cause->parameters["weights"]["blk.3.ffn_norm.weight"], "blk.3.attn_norm.weight");
}

TEST_F(ExplainRunsDeep, ByRmsNormsOfTheNextLayerAreOneCause) {
  const trace::EngineRun run = faulty({Stage::kFfnNorm}, [&](const auto& bench, const auto& place, auto& result) {
    if (place.layer < 4) {
      const auto weight = bench.norm_weight(place.stage, place.layer + 1);
      result = bench.normed(bench.input(place), weight, bench.model().norm_epsilon);
    }
  });
  const auto cause = cause_by_rms(run);
  ASSERT_TRUE(cause);
  EXPECT_EQ(cause->id, "norm_weight") << cause->evidence;
  EXPECT_EQ(cause->name, "blk0/ffn_norm");
  EXPECT_EQ(cause->parameters.value("layer_offset", 0), 1) << cause->parameters << cause->evidence;
  EXPECT_EQ(cause->parameters.value("weights", Json()).size(), 4U);
}

// Layers 2 and 3 read each other's codes, and keep their own scales.
TEST_F(ExplainRunsDeep, ByRmsLayersThatAreExchangedButForTheirScales) {
  for (const bool norms_too : {true, false}) {
    std::vector<Stage> stages;
    for (const trace::StageRow& row : trace::kStageTable) {
      const bool is_norm = row.kind == trace::StageKind::kNorm && row.place == trace::StagePlace::kInLayer;
      if (row.kind == trace::StageKind::kProjection || (norms_too && is_norm)) {
        stages.emplace_back(row);
      }
    }
    const trace::EngineRun run = faulty(stages, [&](const auto& bench, const auto& place, auto& result) {
      if (place.layer != 2 && place.layer != 3) {
        return;
      }
      const int other = 5 - place.layer;
      if (place.stage.kind() == trace::StageKind::kNorm) {
        result = bench.normed(bench.input(place), bench.norm_weight(place.stage, other), bench.model().norm_epsilon);
        return;
      }
      const gguf::Tensor &own = bench.weight(place.stage, place.layer), &read = bench.weight(place.stage, other);
      result = bench.product(bench.input(place), read, Workbench::rows_of(read));
      for (double& value : result.values) {
        value *= steps_->weight_scale(own) / steps_->weight_scale(read);
      }
    });
    const auto cause = cause_by_rms(run);
    ASSERT_TRUE(cause) << norms_too;
    EXPECT_EQ(cause->id, "layer_order") << norms_too << cause->evidence;
    EXPECT_EQ(cause->parameters.value("order", Json()), Json({0, 1, 3, 2, 4})) << norms_too << cause->evidence;
    EXPECT_EQ(cause->parameters.value("scales", ""), "own") << norms_too;
    EXPECT_EQ(cause->parameters.value("of", ""), norms_too ? "" : "matrices");
  }
}

// Most of what is wrong is the second fault's.
TEST_F(ExplainRunsDeep, ByRmsAnEarlySecondFaultDoesNotHideTheFirst) {
  struct Case {
    Stage first, second;
    int first_layer, second_layer;
    double first_factor, second_factor;
    const char *place, *left;
  };
  const Case cases[] = {{Stage::kUpProj, Stage::kOProj, 1, 2, 3, 2, "blk1/up_proj", "blk2/o_proj"},
                        {Stage::kKProj, Stage::kUpProj, 0, 0, 0.5, 3, "blk0/k_proj", "blk0/up_proj"}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.place);
    const trace::EngineRun run = faulty({c.first, c.second}, [&](const auto&, const auto& place, auto& result) {
      const double factor = place.stage == c.first && place.layer == c.first_layer     ? c.first_factor
                            : place.stage == c.second && place.layer == c.second_layer ? c.second_factor
                                                                                       : 1;
      for (double& value : result.values) {
        value *= factor;
      }
    });
    const auto cause = cause_by_rms(run);
    ASSERT_TRUE(cause);
    EXPECT_EQ(cause->id, "weight_scale") << cause->evidence;
    EXPECT_EQ(cause->name, c.place);
    EXPECT_NEAR(cause->parameters["factor"].get<double>(), c.first_factor, 0.02 * c.first_factor);
    ASSERT_FALSE(cause->unexplained.empty());
    EXPECT_EQ(cause->unexplained.front(), c.left);
    EXPECT_LT(cause->confidence, 0.5 * outcome::kMostConfidenceByRms);
  }
}

TEST_F(ExplainRuns, APassTakesWhatIsKnownAndSaysWhatAProposalChangesFirst) {
  PassPlan plan;
  plan.prompt = kRunPrompt;
  const auto plain = rms_with(nullptr, {}, plan, *steps_);
  ASSERT_TRUE(plain);
  EXPECT_FALSE(plain->first_changed);
  Proposal doubled;
  doubled.recompute = [](const StageFacts& facts) -> std::optional<Matrix> {
    if (facts.id().layer != 2) {
      return facts.should();
    }
    Matrix y = facts.should();
    for (double& value : y.values) {
      value *= 2;
    }
    return y;
  };
  const auto changed = rms_with(&doubled, {trace::StageKind::kProjection}, plan, *steps_);
  ASSERT_TRUE(changed && changed->first_changed);
  EXPECT_EQ(changed->first_changed->name(), "blk2/q_proj");
  EXPECT_NEAR(changed->rms.at(*TensorId::parse("blk2/q_proj")), 2 * plain->rms.at(*TensorId::parse("blk2/q_proj")),
              1e-9);

  plan.known_before = TensorId::parse("blk1/attn_norm");
  plan.given = [](const TensorId& id) -> std::optional<Matrix> {
    return id.stage == Stage::kOut && id.layer == 0 ? std::optional(Matrix(kRunPrompt.size(), 256)) : std::nullopt;
  };
  const auto from_zeros = rms_with(nullptr, {}, plan, *steps_);
  ASSERT_TRUE(from_zeros);
  EXPECT_EQ(from_zeros->rms.at(*TensorId::parse("blk1/attn_norm")), 0);
  EXPECT_EQ(from_zeros->rms.at(*TensorId::parse("blk0/attn_norm")), plain->rms.at(*TensorId::parse("blk0/attn_norm")));
}

}  // namespace
}  // namespace tern::estimate
