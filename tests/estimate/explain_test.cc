// The cause of a side that is wrong, from a whole run: the oracle's, rounded as an engine rounds, with one or more of
// its stages changed, and everything behind them computed from that.
#include "tern/estimate/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>

#include "estimate/altered_run.h"
#include "support/paths.h"
#include "tern/base/check.h"
#include "tern/base/file.h"
#include "tern/oracle/faults.h"
#include "tern/oracle/float32.h"
#include "tern/trace/recorder.h"

namespace tern::estimate {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using trace::Stage;

using Change = std::function<void(const trace::TensorId& id, Matrix& y)>;

class Changed final : public oracle::Oracle {
 public:
  Changed(const Oracle& plain, Change change) : Oracle(plain), change_(std::move(change)) {}

 protected:
  Status finish_stage(const Pass& pass, Stage stage, int layer, Matrix& matrix) const override {
    if (change_) {
      change_({pass.seq, pass.ubatch, layer, stage}, matrix);
    }
    return Oracle::finish_stage(pass, stage, layer, matrix);
  }

 private:
  Change change_;
};

class Explain : public testing::Test {
 protected:
  const std::vector<int32_t> prompt_ = {1, 5, 900, 33, 1207, 64, 5, 18, 411, 77, 1500, 2};
  const std::vector<int32_t> fed_ = {40};
  static constexpr int kFloat32 = 24, kHalf = 11;

  void SetUp() override {
    auto view = gguf::View::open(test::bundled_model_dir() / "tern-tiny-i2_s.gguf");
    ASSERT_TRUE(view) << view.error().line();
    view_ = std::make_unique<gguf::View>(std::move(*view));
    auto steps = oracle::Steps::load(*view_);
    ASSERT_TRUE(steps) << steps.error().line();
    steps_ = std::make_unique<oracle::Steps>(std::move(*steps));
  }

  oracle::Oracle plain(int bits, const trace::Inputs* inputs) const {
    oracle::Settings settings;
    settings.significant_bits = bits;
    settings.inputs = inputs;
    auto oracle = oracle::Oracle::load(*view_, settings);
    TERN_CHECK(oracle.has_value());
    return std::move(*oracle);
  }

  const trace::EngineRun& recorded(oracle::Oracle&& oracle, bool with_values = true) {
    const auto path = folder_.path() / ("run" + std::to_string(runs_.size()));
    auto recorder = trace::FolderRecorder::create(path, trace::TraceForm::kList);
    TERN_CHECK(recorder.has_value());
    if (with_values) {
      TERN_CHECK((*recorder)->dump_values(path / "tensors.safetensors", 4096).has_value());
    }
    test::evaluate_all(oracle, prompt_, fed_, recorder->get());
    return runs_.emplace_back(test::finished_run(**recorder, path, prompt_, fed_));
  }

  // The cause of a run with that change; an id of "" where none was found.
  outcome::Cause cause_of(const Change& change, bool with_values = true) {
    return cause_of_engine(Changed(plain(kFloat32, nullptr), change), with_values);
  }
  outcome::Cause cause_of_engine(oracle::Oracle&& engine, bool with_values) {
    const trace::EngineRun& run = recorded(std::move(engine), with_values);
    const trace::EngineRun& exact = recorded(plain(0, nullptr));
    const compare::RoundingNoise noise(exact, recorded(plain(kHalf, nullptr)));
    WrongSide wrong;
    wrong.side.run = &run;
    wrong.exact = &exact;
    wrong.noise = &noise;
    std::optional<trace::Inputs> inputs;
    std::optional<compare::Isolation> isolation;
    if (with_values) {
      auto opened = trace::Inputs::open(run.folder);
      TERN_CHECK(opened.has_value());
      inputs.emplace(std::move(*opened));
      wrong.exact = &recorded(plain(0, &*inputs));
      std::vector<const trace::EngineRun*> rounded;
      for (const oracle::Float32Rules& rules : oracle::kFloat32Evaluations) {
        rounded.push_back(&recorded(oracle::Float32(plain(0, &*inputs), rules)));
      }
      wrong.side.isolation = &isolation.emplace(run, *wrong.exact, rounded);
    }
    const compare::Arbitration arbitration = compare::arbitrate({wrong.side, {}}, exact, noise);
    wrong.arbitration = &arbitration;
    if (!arbitration.first_wrong.subject.first()) {
      return {};
    }
    const auto cause = explain(wrong, *steps_, tried_);
    EXPECT_TRUE(cause) << cause.error().line();
    return cause && *cause ? **cause : outcome::Cause();
  }

  static void scale(Matrix& y, double factor) {
    for (double& value : y.values) {
      value *= factor;
    }
  }

  std::unique_ptr<gguf::View> view_;
  std::unique_ptr<oracle::Steps> steps_;
  test::TemporaryFolder folder_;
  std::list<trace::EngineRun> runs_;
  Json tried_;
};

TEST_F(Explain, ARightRunIsNotWrong) { EXPECT_EQ(cause_of({}).id, ""); }

TEST_F(Explain, OneFaultIsNamedWithItsFigureAndExplainsAll) {
  const outcome::Cause cause = cause_of([](const trace::TensorId& id, Matrix& y) {
    if (id.stage == Stage::kUpProj && id.layer == 1) {
      scale(y, 0.37);
    }
  });
  EXPECT_EQ(cause.id, "weight_scale") << cause.evidence;
  EXPECT_EQ(cause.name, "blk1/up_proj");
  EXPECT_NEAR(cause.parameters.value("factor", 0.0), 0.37, 1e-4) << cause.parameters;
  EXPECT_EQ(cause.confidence, 1);
  EXPECT_TRUE(cause.unexplained.empty());
  ASSERT_FALSE(cause.tried.empty());
  EXPECT_TRUE(std::any_of(cause.tried.begin(), cause.tried.end(), [](const Json& tried) {
    return tried["explains"] == true && tried["name"] == "blk1/up_proj" && tried["error_left"].get<double>() < 1e-5;
  })) << cause.tried;
}

// The same mistake in every layer is one cause, not as many as there are tensors.
TEST_F(Explain, WhatItMendsElsewhereBelongsToIt) {
  const outcome::Cause cause = cause_of([](const trace::TensorId& id, Matrix& y) {
    if (id.stage == Stage::kVProj) {
      scale(y, -1);
    }
  });
  EXPECT_EQ(cause.name, "blk0/v_proj") << cause.evidence;
  EXPECT_EQ(cause.id, "weight_sign");
  EXPECT_TRUE(cause.unexplained.empty()) << cause.evidence;
  EXPECT_EQ(cause.confidence, 1);
}

TEST_F(Explain, OfTwoFaultsTheFirstIsNamedAndTheOtherIsListed) {
  const outcome::Cause cause = cause_of([](const trace::TensorId& id, Matrix& y) {
    if (id.stage == Stage::kKProj && id.layer == 0) {
      scale(y, 0.5);
    } else if (id.stage == Stage::kFfnAct && id.layer == 2) {
      for (double& value : y.values) {
        value = std::min(value, 0.02);
      }
    }
  });
  EXPECT_EQ(cause.id, "weight_scale") << cause.evidence;
  EXPECT_EQ(cause.name, "blk0/k_proj");
  EXPECT_NEAR(cause.parameters.value("factor", 0.0), 0.5, 1e-5);
  EXPECT_THAT(cause.unexplained, ElementsAre("blk2/ffn_act", "t1/blk2/ffn_act"));
  EXPECT_THAT(cause.evidence, HasSubstr("2 more tensors are wrong by themselves, from blk2/ffn_act on, and not "
                                        "explained by it"));
  EXPECT_LT(cause.confidence, 1);
}

// Two faults in stages of one kind: the first one's figure does not fit the other.
TEST_F(Explain, TwoFaultsOfOneKindAreNotTakenForOne) {
  const outcome::Cause cause = cause_of([](const trace::TensorId& id, Matrix& y) {
    if (id.stage == Stage::kGateProj && (id.layer == 0 || id.layer == 3)) {
      scale(y, id.layer == 0 ? 0.25 : 3);
    }
  });
  EXPECT_EQ(cause.name, "blk0/gate_proj") << cause.evidence;
  EXPECT_NEAR(cause.parameters.value("factor", 0.0), 0.25, 1e-5);
  EXPECT_THAT(cause.unexplained, ElementsAre("blk3/gate_proj", "t1/blk3/gate_proj"));
}

TEST_F(Explain, WhereNothingFitsWhatWasTriedIsKept) {
  const outcome::Cause cause = cause_of([](const trace::TensorId& id, Matrix& y) {
    if (id.stage == Stage::kDownProj && id.layer == 1) {
      for (size_t i = 0; i < y.values.size(); ++i) {
        y.values[i] += 0.3 * std::sin(static_cast<double>(i * i));  // of no weight and of no input
      }
    }
  });
  EXPECT_EQ(cause.id, "") << cause.evidence;
  ASSERT_TRUE(tried_.is_array());
  for (const Json& tried : tried_) {
    EXPECT_EQ(tried["explains"], false) << tried;
  }
}

TEST_F(Explain, FromRmsTheFigureIsSolvedAndHeldAgainstWhatIsBehind) {
  const outcome::Cause cause = cause_of(
      [](const trace::TensorId& id, Matrix& y) {
        if (id.stage == Stage::kGateProj && id.layer == 1) {
          scale(y, 0.37);
        }
      },
      false);
  EXPECT_EQ(cause.id, "weight_scale") << cause.evidence;
  EXPECT_EQ(cause.name, "blk1/gate_proj");
  EXPECT_NEAR(cause.parameters.value("factor", 0.0), 0.37, 0.37 * 0.02) << cause.parameters;
  EXPECT_LE(cause.confidence, 0.7) << "an RMS shows less than values do";
}

// A norm's output with the weight of another one.
void exchange_norm_weight(const oracle::Steps& steps, const std::string& own, const std::string& read, Matrix& y) {
  const auto from = steps.weight_row(*steps.view().find_tensor(own), 0);
  const auto to = steps.weight_row(*steps.view().find_tensor(read), 0);
  for (size_t t = 0; t < y.n_tokens; ++t) {
    for (size_t i = 0; i < y.n_features; ++i) {
      y.row(t)[i] *= to[i] / from[i];
    }
  }
}

TEST_F(Explain, NormsThatChangePlacesInEveryLayerAreOneCause) {
  const Change change = [&](const trace::TensorId& id, Matrix& y) {
    const std::string layer = "blk." + std::to_string(id.layer) + ".";
    if (id.stage == Stage::kAttnNorm) {
      exchange_norm_weight(*steps_, layer + "attn_norm.weight", layer + "ffn_norm.weight", y);
    } else if (id.stage == Stage::kFfnNorm) {
      exchange_norm_weight(*steps_, layer + "ffn_norm.weight", layer + "attn_norm.weight", y);
    }
  };
  const outcome::Cause cause = cause_of(change);
  EXPECT_EQ(cause.id, "norm_weight") << cause.evidence;
  EXPECT_EQ(cause.name, "blk0/attn_norm");
  ASSERT_TRUE(cause.parameters.contains("weights")) << cause.parameters << cause.evidence;
  EXPECT_EQ(cause.parameters["weights"].size(), 10U);
  EXPECT_EQ(cause.parameters["weights"]["blk.3.ffn_norm.weight"], "blk.3.attn_norm.weight");
  EXPECT_THAT(cause.unexplained, testing::IsEmpty()) << cause.evidence;
}

TEST_F(Explain, NormsOfTheNextLayerAreOneCause) {
  const Change change = [&](const trace::TensorId& id, Matrix& y) {
    if (id.stage == Stage::kFfnNorm && id.layer < 4) {
      exchange_norm_weight(*steps_, "blk." + std::to_string(id.layer) + ".ffn_norm.weight",
                           "blk." + std::to_string(id.layer + 1) + ".ffn_norm.weight", y);
    }
  };
  const outcome::Cause cause = cause_of(change);
  EXPECT_EQ(cause.id, "norm_weight") << cause.evidence;
  EXPECT_EQ(cause.name, "blk0/ffn_norm");
  EXPECT_EQ(cause.parameters.value("layer_offset", 0), 1) << cause.parameters << cause.evidence;
  EXPECT_EQ(cause.parameters["weights"].size(), 4U);
  EXPECT_THAT(cause.unexplained, testing::IsEmpty()) << cause.evidence;
}

TEST_F(Explain, TiedEmbeddingsOffByARowAreOneCause) {
  for (const bool head_too : {true, false}) {
    const outcome::Cause cause = cause_of([&](const trace::TensorId& id, Matrix& y) {
      if (id.stage == Stage::kEmbeddings) {
        const auto& ids = id.seq == 0 ? prompt_ : fed_;
        for (size_t t = 0; t < y.n_tokens; ++t) {
          const auto row =
              steps_->weight_row(*view_->find_tensor("token_embd.weight"), static_cast<uint64_t>(ids[t] + 1));
          std::copy(row.begin(), row.end(), y.row(t).begin());
        }
      } else if (id.stage == Stage::kLogits && head_too) {
        for (size_t t = 0; t < y.n_tokens; ++t) {
          std::rotate(y.row(t).begin(), y.row(t).begin() + 1, y.row(t).end());
        }
      }
    });
    EXPECT_EQ(cause.id, "embedding_row") << cause.evidence;
    EXPECT_EQ(cause.name, "embeddings");
    EXPECT_EQ(cause.parameters.value("offset", 0), 1);
    EXPECT_EQ(cause.parameters.contains("of"), head_too) << cause.parameters;
    EXPECT_THAT(cause.unexplained, testing::IsEmpty()) << cause.evidence;
  }
}

// Layers 2 and 3 read each other's matrices, and their norms too, with the scales of either.
TEST_F(Explain, LayersThatAreExchangedAreOneCause) {
  struct Case {
    bool norms, own_scales;
  };
  for (const Case& one : {Case{true, false}, {true, true}, {false, true}, {false, false}}) {
    std::map<Stage, Matrix> computed;
    const outcome::Cause cause = cause_of([&](const trace::TensorId& id, Matrix& y) {
      const int other = 5 - id.layer;
      const gguf::Tensor* own = id.layer == 2 || id.layer == 3 ? steps_->weight_of(id.stage, id.layer) : nullptr;
      const gguf::Tensor* read = own == nullptr ? nullptr : steps_->weight_of(id.stage, other);
      if (own != nullptr && id.stage.kind() == trace::StageKind::kNorm && one.norms) {
        exchange_norm_weight(*steps_, std::string(own->name), std::string(read->name), y);
      } else if (own != nullptr && id.stage.kind() == trace::StageKind::kProjection) {
        const Stage from = id.stage == Stage::kOProj                                    ? Stage::kAttnSubNorm
                           : id.stage == Stage::kDownProj                               ? Stage::kFfnSubNorm
                           : id.stage == Stage::kGateProj || id.stage == Stage::kUpProj ? Stage::kFfnNorm
                                                                                        : Stage::kAttnNorm;
        y = steps_->project(computed.at(from), *read);
        scale(y, one.own_scales ? steps_->weight_scale(*own) / steps_->weight_scale(*read) : 1);
      }
      computed.insert_or_assign(id.stage, y);
      for (double& value : computed.at(id.stage).values) {
        value = static_cast<double>(static_cast<float>(value));  // as it is recorded
      }
    });
    const std::string which = std::string(one.norms ? "norms " : "") + (one.own_scales ? "own scales" : "");
    ASSERT_EQ(cause.id, "layer_order") << which << cause.evidence;
    EXPECT_EQ(cause.parameters["order"], Json({0, 1, 3, 2, 4})) << which << cause.parameters;
    EXPECT_EQ(cause.parameters.value("scales", ""), one.own_scales ? "own" : "") << which << cause.evidence;
    EXPECT_EQ(cause.parameters.value("of", ""), one.norms ? "" : "matrices") << which << cause.evidence;
    EXPECT_EQ(cause.name, one.norms ? "blk2/attn_norm" : "blk2/q_proj") << which;
    EXPECT_THAT(cause.unexplained, testing::IsEmpty()) << which << cause.evidence;
  }
}

// Queries meet the keys and the values of other heads: a proposal about the scores alone leaves what is mixed wrong.
TEST_F(Explain, FromRmsAHeadMapOfKeysAndValuesIsOneCause) {
  const auto engine = oracle::find_fault("gqa_head_map")->make(plain(kFloat32, nullptr), {});
  const outcome::Cause cause = cause_of_engine(std::move(*engine), false);
  EXPECT_EQ(cause.id, "gqa_head_map") << cause.evidence;
  EXPECT_EQ(cause.parameters.value("of", ""), "keys and values") << cause.evidence;
  EXPECT_EQ(cause.name, "blk0/attn_scores_softmax");
}

}  // namespace
}  // namespace tern::estimate
