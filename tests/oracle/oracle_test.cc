#include "tern/oracle/oracle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "support/paths.h"
#include "tern/trace/run_folder.h"

namespace tern::oracle {
namespace {

double relative_error(std::span<const float> a, std::span<const float> b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double delta = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    difference += delta * delta;
    size += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(difference / size);
}

// The recordings are float32 with int8 activations and a float16 cache, the oracle is double. Where a sum lands on the
// other side of a rounding step, an activation moves by 1/127 of its row's largest value, and these random models
// amplify that from layer to layer. A wrong operation moves its own stage by tens of percent at once.
constexpr double kMaxErrorInLayer0 = 0.03;
constexpr double kMaxError = 0.1;

TEST(Oracle, EveryStageOfTheRecordings) {
  size_t n_tensors = 0;
  double worst = 0;
  for (const auto& golden : test::golden_cases()) {
    const auto run = trace::read_run_folder(golden.folder);
    ASSERT_TRUE(run) << run.error().line();
    if (!run->values) {
      continue;
    }
    const auto view = gguf::View::open(golden.model_path);
    ASSERT_TRUE(view) << view.error().line();
    auto oracle = Oracle::load(*view);
    ASSERT_TRUE(oracle) << oracle.error().line();
    trace::MemoryRecorder recorder(true);
    ASSERT_TRUE(oracle->evaluate(run->result.prompt_tokens, 0, 0, &recorder));
    ASSERT_EQ(recorder.records().size(), run->trace.size()) << golden.folder;
    for (size_t i = 0; i < recorder.records().size(); ++i) {
      ASSERT_EQ(recorder.records()[i].id.name(), run->trace[i].id.name());
      ASSERT_EQ(recorder.records()[i].shape, run->trace[i].shape) << run->trace[i].id.name();
      const auto* recorded = run->values->find(run->trace[i].id.name());
      const double error = relative_error(recorder.values()[i], recorded->values);
      EXPECT_LT(error, run->trace[i].id.layer == 0 ? kMaxErrorInLayer0 : kMaxError)
          << golden.folder << " " << run->trace[i].id.name();
      worst = std::max(worst, error);
      ++n_tensors;
    }
  }
  EXPECT_GT(n_tensors, 200U);
  std::printf("%zu tensors, largest relative error %.2e\n", n_tensors, worst);
}

// The oracle follows the recorded tokens. Where it would choose another one, the two must be closer than twice what the
// two sets of logits differ by: a near tie, which rounding decides.
TEST(Oracle, PrefersTheRecordedTokens) {
  size_t n_steps = 0, n_near_ties = 0;
  for (const auto& golden : test::golden_cases()) {
    if (!golden.name.starts_with("scenario")) {
      continue;
    }
    const auto run = trace::read_run_folder(golden.folder);
    const auto view = gguf::View::open(golden.model_path);
    ASSERT_TRUE(run && view);
    auto oracle = Oracle::load(*view);
    ASSERT_TRUE(oracle);
    const auto n_vocab = static_cast<size_t>(oracle->hyperparameters().n_vocab);
    std::span<const float> recorded = run->logits()->values;
    std::vector<int32_t> tokens = run->result.prompt_tokens;
    for (size_t step = 0; step < run->result.generated_tokens.size(); ++step, ++n_steps) {
      const auto logits = oracle->evaluate(tokens, static_cast<int>(step), 0, nullptr);
      ASSERT_TRUE(logits);
      const std::span<const double> last = std::span(*logits).last(n_vocab);
      const std::span<const float> recorded_last = recorded.subspan((tokens.size() - 1) * n_vocab, n_vocab);
      recorded = recorded.subspan(tokens.size() * n_vocab);
      double noise = 0;
      for (size_t i = 0; i < n_vocab; ++i) {
        noise = std::max(noise, std::abs(last[i] - static_cast<double>(recorded_last[i])));
      }
      const int32_t chosen = run->result.generated_tokens[step];
      const double behind = *std::max_element(last.begin(), last.end()) - last[static_cast<size_t>(chosen)];
      EXPECT_LE(behind, 2 * noise) << golden.folder << " step " << step;
      EXPECT_LT(noise, 1.0) << golden.folder << " step " << step;
      n_near_ties += behind > 0 ? 1 : 0;
      tokens = {chosen};
    }
  }
  EXPECT_GT(n_steps, 20U);
  EXPECT_LT(n_near_ties, n_steps / 4);
  std::printf("%zu steps, %zu near ties\n", n_steps, n_near_ties);
}

// All weights are +1 and all activations equal, so every projection is positive; bitnet.cpp's 16-bit lanes wrap here.
TEST(Oracle, DoesNotWrapWhereTheReferenceDoes) {
  const auto path = test::golden_dir() / "models" / "wide-constant-i2_s.gguf";
  ASSERT_TRUE(std::filesystem::exists(path)) << path;
  const auto view = gguf::View::open(path);
  ASSERT_TRUE(view) << view.error().line();
  auto oracle = Oracle::load(*view);
  ASSERT_TRUE(oracle) << oracle.error().line();
  trace::MemoryRecorder recorder(true);
  ASSERT_TRUE(oracle->evaluate(std::vector<int32_t>{1, 2}, 0, 0, &recorder));
  size_t n_projections = 0;
  for (size_t i = 0; i < recorder.records().size(); ++i) {
    const auto stage = recorder.records()[i].id.stage;
    if (stage == trace::Stage::kQProj || stage == trace::Stage::kVProj || stage == trace::Stage::kDownProj) {
      ++n_projections;
      EXPECT_GT(*std::min_element(recorder.values()[i].begin(), recorder.values()[i].end()), 0.0F);
    }
  }
  EXPECT_GE(n_projections, 3U);
}

double rounded_to_11_bits(double x) {
  if (x == 0) {
    return x;
  }
  const double unit = std::ldexp(1.0, std::ilogb(x) - 10);
  return std::nearbyint(x / unit) * unit;
}

// What is recorded is rounded, and what follows is computed from that.
TEST(Oracle, SignificantBitsRoundEveryStage) {
  const auto golden = test::golden_cases().front();
  const auto view = gguf::View::open(golden.model_path);
  ASSERT_TRUE(view);
  auto oracle = Oracle::load(*view, {.significant_bits = 11});
  ASSERT_TRUE(oracle) << oracle.error().line();
  trace::MemoryRecorder recorder(true);
  const auto logits = oracle->evaluate(std::vector<int32_t>{1, 5, 9}, 0, 0, &recorder);
  ASSERT_TRUE(logits);
  std::map<std::string, std::vector<float>> values;
  for (size_t i = 0; i < recorder.records().size(); ++i) {
    values[recorder.records()[i].id.name()] = recorder.values()[i];
    for (const float value : recorder.values()[i]) {
      ASSERT_EQ(static_cast<double>(value), rounded_to_11_bits(static_cast<double>(value)))
          << recorder.records()[i].id.name();
    }
  }
  EXPECT_EQ(values.at("logits"), std::vector<float>(logits->begin(), logits->end()));
  const auto& embeddings = values.at("embeddings");
  for (size_t i = 0; i < embeddings.size(); ++i) {
    const double sum = static_cast<double>(embeddings[i]) + static_cast<double>(values.at("blk0/o_proj")[i]);
    ASSERT_EQ(static_cast<double>(values.at("blk0/ffn_inp")[i]), rounded_to_11_bits(sum));
  }
  // The first token attends to itself only, so its heads are the values that were cached.
  const auto& hp = oracle->hyperparameters();
  for (int i = 0; i < hp.n_heads * hp.head_dim; ++i) {
    const int kv_head = i / hp.head_dim / (hp.n_heads / hp.n_kv_heads);
    ASSERT_EQ(values.at("blk0/attn_out")[static_cast<size_t>(i)],
              values.at("blk0/v_proj")[static_cast<size_t>(kv_head * hp.head_dim + i % hp.head_dim)]);
  }
}

TEST(Oracle, MoreSignificantBitsComeCloser) {
  const auto golden = test::golden_cases().front();
  const auto view = gguf::View::open(golden.model_path);
  ASSERT_TRUE(view);
  const auto logits = [&](int bits) {
    auto oracle = Oracle::load(*view, {.significant_bits = bits});
    const auto row = oracle->evaluate(std::vector<int32_t>{1, 5, 9}, 0, 0, nullptr);
    return std::vector<float>(row->begin(), row->end());
  };
  const std::vector<float> exact = logits(0);
  const double at_8 = relative_error(logits(8), exact), at_11 = relative_error(logits(11), exact),
               at_24 = relative_error(logits(24), exact);
  std::printf("relative error of the logits: %.1e at 8 bits, %.1e at 11, %.1e at 24\n", at_8, at_11, at_24);
  EXPECT_GT(at_8, at_11);
  EXPECT_GT(at_11, at_24);
  EXPECT_GT(at_24, 0);
  EXPECT_LT(relative_error(logits(52), exact), 1e-6);
}

TEST(Oracle, RefusesWhatDoesNotFit) {
  const auto golden = test::golden_cases().front();
  const auto view = gguf::View::open(golden.model_path);
  ASSERT_TRUE(view);
  auto oracle = Oracle::load(*view);
  ASSERT_TRUE(oracle);
  EXPECT_FALSE(oracle->evaluate(std::vector<int32_t>{oracle->hyperparameters().n_vocab}, 0, 0, nullptr));
  EXPECT_FALSE(oracle->evaluate(std::vector<int32_t>{-1}, 0, 0, nullptr));
  const std::vector<int32_t> too_many(static_cast<size_t>(oracle->hyperparameters().n_context) + 1, 1);
  EXPECT_FALSE(oracle->evaluate(too_many, 0, 0, nullptr));
}

}  // namespace
}  // namespace tern::oracle
