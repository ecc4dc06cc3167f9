// The oracle's single operations and its ways to add are those of its whole pass, to the bit.
#include "tern/oracle/steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "support/paths.h"
#include "tern/oracle/float32.h"
#include "tern/synth/synthetic_model.h"

namespace tern::oracle {
namespace {

using trace::Stage;
using trace::StageKind;

// What each stage of a pass comes to, in double.
template <class Base>
class Watched : public Base {
 public:
  template <class... Args>
  explicit Watched(Args&&... args) : Base(std::forward<Args>(args)...) {}

  std::map<trace::TensorId, Matrix> pass() {
    const std::vector<int32_t> prompt = {1, 5, 9, 3, 7};
    EXPECT_TRUE(this->evaluate(prompt, 0, 0, nullptr));
    EXPECT_TRUE(this->evaluate(std::vector<int32_t>{4}, 1, 0, nullptr));
    return seen_;
  }

 protected:
  using typename Base::Pass;
  Status finish_stage(const Pass& pass, Stage stage, int layer, Matrix& matrix) const override {
    const Status finished = Base::finish_stage(pass, stage, layer, matrix);
    seen_[{pass.seq, pass.ubatch, layer, stage}] = matrix;
    return finished;
  }

 private:
  mutable std::map<trace::TensorId, Matrix> seen_;
};

// The same with products of whole numbers added as all others are.
template <class Base>
class OneByOne final : public Watched<Base> {
 public:
  using Watched<Base>::Watched;
  bool adds_exactly(size_t) const override { return false; }
};

// Of ternary and of other weights, with and without sub-norms.
class OracleSteps : public testing::Test {
 protected:
  static constexpr const char* kModels[] = {"bitnet-b1.58 i2_s", "llama q8_0", "llama f16"};

  gguf::View model(const std::string& name) {
    synth::SyntheticOptions options{.shape = *synth::synthetic_shape("tiny")};
    options.architecture = name.substr(0, name.find(' '));
    options.weights = name.ends_with("f16") ? &quant::kF16 : name.ends_with("q8_0") ? &quant::kQ8_0 : options.weights;
    const auto path = folder_.path() / (name + ".gguf");
    EXPECT_TRUE(synth::write_synthetic_model(path, options));
    auto view = gguf::View::open(path);
    EXPECT_TRUE(view) << view.error().line();
    return std::move(*view);
  }

  static Oracle oracle_of(const gguf::View& view, int n_threads = 1) {
    Settings settings;
    settings.n_threads = n_threads;
    auto oracle = Oracle::load(view, settings);
    EXPECT_TRUE(oracle) << oracle.error().line();
    return std::move(*oracle);
  }

  const test::TemporaryFolder folder_;
};

size_t n_stages_that_differ(const std::map<trace::TensorId, Matrix>& a, const std::map<trace::TensorId, Matrix>& b) {
  EXPECT_EQ(a.size(), b.size());
  size_t n = 0;
  for (const auto& [id, matrix] : a) {
    n += matrix.values != b.at(id).values;
  }
  return n;
}

TEST_F(OracleSteps, WholeNumbersAddUpToTheSameBits) {
  for (const char* name : kModels) {
    SCOPED_TRACE(name);
    const gguf::View view = model(name);
    const Oracle plain = oracle_of(view);
    EXPECT_EQ(n_stages_that_differ(Watched<Oracle>(plain).pass(), OneByOne<Oracle>(plain).pass()), 0U);
    for (const Float32Rules& rules : kFloat32Evaluations) {
      SCOPED_TRACE(rules.name);
      EXPECT_EQ(n_stages_that_differ(Watched<Float32>(plain, rules).pass(), OneByOne<Float32>(plain, rules).pass()),
                0U);
    }
  }
}

TEST_F(OracleSteps, ThreadsDoNotChangeABit) {
  synth::SyntheticOptions options{.shape = *synth::synthetic_shape("small")};
  const auto path = folder_.path() / "small.gguf";
  ASSERT_TRUE(synth::write_synthetic_model(path, options));
  const auto view = gguf::View::open(path);
  ASSERT_TRUE(view);
  EXPECT_EQ(
      n_stages_that_differ(Watched<Oracle>(oracle_of(*view, 1)).pass(), Watched<Oracle>(oracle_of(*view, 5)).pass()),
      0U);
}

// A stage computed by Steps from what went into it.
class Recomputed {
 public:
  Recomputed(const Steps& steps, const std::map<trace::TensorId, Matrix>& pass) : steps_(steps), pass_(pass) {}

  std::optional<Matrix> operator()(const trace::TensorId& id) const {
    const gguf::Tensor* weight = steps_.weight_of(id.stage, id.layer);
    const std::map<Stage, Stage> inputs = {
        {Stage::kFfnNorm, Stage::kFfnInp},      {Stage::kQProj, Stage::kAttnNorm},   {Stage::kKProj, Stage::kAttnNorm},
        {Stage::kVProj, Stage::kAttnNorm},      {Stage::kGateProj, Stage::kFfnNorm}, {Stage::kUpProj, Stage::kFfnNorm},
        {Stage::kAttnSubNorm, Stage::kAttnOut}, {Stage::kFfnSubNorm, Stage::kFfnAct}};
    const bool sub_norms = steps_.hyperparameters().sub_norms;
    Stage input = Stage::kOut;
    if (const auto found = inputs.find(id.stage); found != inputs.end()) {
      input = found->second;
    } else if (id.stage == Stage::kOProj) {
      input = sub_norms ? Stage::kAttnSubNorm : Stage::kAttnOut;
    } else if (id.stage == Stage::kDownProj) {
      input = sub_norms ? Stage::kFfnSubNorm : Stage::kFfnAct;
    } else if (id.stage == Stage::kLogits) {
      input = Stage::kOutputNorm;
    } else if (id.stage != Stage::kAttnNorm && id.stage != Stage::kOutputNorm) {
      return std::nullopt;
    }
    const Matrix& x = pass_.at(place_of(id, input));
    if (id.stage.kind() == StageKind::kNorm) {
      return steps_.norm(x, steps_.weight_row(*weight, 0), steps_.hyperparameters().norm_epsilon);
    }
    return steps_.project(x, *weight);
  }

 private:
  trace::TensorId place_of(trace::TensorId id, Stage input) const {
    const bool is_before = id.stage == Stage::kAttnNorm || id.stage == Stage::kOutputNorm;
    const int before = id.layer < 0 ? steps_.hyperparameters().n_layers - 1 : id.layer - 1;
    id.layer = is_before ? before : id.layer;
    id.stage = is_before && before < 0 ? Stage::kEmbeddings : input;
    return id;
  }

  const Steps& steps_;
  const std::map<trace::TensorId, Matrix>& pass_;
};

TEST_F(OracleSteps, AreThoseOfTheWholePass) {
  for (const char* name : kModels) {
    SCOPED_TRACE(name);
    const gguf::View view = model(name);
    const auto pass = Watched<Oracle>(oracle_of(view)).pass();
    const auto steps = Steps::load(view);
    ASSERT_TRUE(steps);
    const Recomputed recomputed(*steps, pass);
    size_t n_projections = 0, n_norms = 0;
    for (const auto& [id, matrix] : pass) {
      if (const auto again = recomputed(id)) {
        EXPECT_EQ(again->values, matrix.values) << id.name();
        (id.stage.kind() == StageKind::kNorm ? n_norms : n_projections) += 1;
      }
    }
    const auto n_layers = static_cast<size_t>(steps->hyperparameters().n_layers);
    const size_t of_layer = steps->hyperparameters().sub_norms ? 4 : 2;
    EXPECT_EQ(n_norms, 2 * (of_layer * n_layers + 1));
    EXPECT_EQ(n_projections, 2 * (7 * n_layers + 1));
  }
}

// Rows by themselves, and other rows than the file's, are the file's where they are the same.
TEST_F(OracleSteps, RowsMakeTheProduct) {
  for (const char* name : kModels) {
    SCOPED_TRACE(name);
    const gguf::View view = model(name);
    const auto steps = Steps::load(view);
    ASSERT_TRUE(steps);
    const gguf::Tensor* weight = steps->weight_of(Stage::kUpProj, 1);
    Matrix x(3, weight->n_cols());
    for (size_t i = 0; i < x.values.size(); ++i) {
      x.values[i] = static_cast<double>(i * 2654435761U % 1009) / 504.5 - 1;
    }
    const Matrix y = steps->project(x, *weight);
    EXPECT_EQ(
        steps->project(x, *weight, weight->n_rows(), [&](uint64_t r, WeightRow& row) { decode_row(*weight, r, row); })
            .values,
        y.values);
    const Matrix rounded = steps->rounded_input(x, *weight);
    for (const uint64_t r : {uint64_t{0}, weight->n_rows() / 2, weight->n_rows() - 1}) {
      const std::vector<double> row = steps->weight_row(*weight, r);
      for (size_t t = 0; t < x.n_tokens; ++t) {
        const double sum = std::inner_product(row.begin(), row.end(), rounded.row(t).begin(), 0.0);
        EXPECT_NEAR(sum, y.row(t)[r], 1e-12 * (1 + std::abs(sum)));
      }
    }
  }
}

}  // namespace
}  // namespace tern::oracle
