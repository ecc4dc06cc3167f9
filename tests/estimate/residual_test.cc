// Sums, embeddings and prompts.
#include <gtest/gtest.h>

#include "estimate/altered_run.h"
#include "tern/estimate/prompt.h"

namespace tern::estimate {
namespace {

using test::AlteredRun;
using test::simplest;
using test::that_hold;

Matrix sum(const Matrix& a, double times_a, const Matrix& b, double times_b) {
  Matrix y = a;
  for (size_t i = 0; i < y.values.size(); ++i) {
    y.values[i] = times_a * a.values[i] + times_b * b.values[i];
  }
  return y;
}

TEST(EstimateResidual, AnAddendTimesAnyNumber) {
  AlteredRun run;
  const Matrix stream = run.values("blk1/ffn_inp"), block = run.values("blk1/down_proj");
  for (const double factor : {0.0, 2.0, -1.0, 0.37, 5.680541405215595, 0.12121100033294159}) {
    const Proposal of_block = simplest(run.facts("blk1/out", sum(stream, 1, block, factor)), estimate_residual);
    EXPECT_EQ(of_block.id, "residual");
    EXPECT_EQ(of_block.parameters.value("addend", ""), "down_proj");
    EXPECT_NEAR(of_block.parameters.value("factor", -9.0), factor, 1e-4) << of_block.parameters;
    const Proposal of_stream = simplest(run.facts("blk1/out", sum(stream, factor, block, 1)), estimate_residual);
    EXPECT_EQ(of_stream.parameters.value("addend", ""), "ffn_inp") << of_stream.parameters;
    EXPECT_NEAR(of_stream.parameters.value("factor", -9.0), factor, 1e-4);
  }
}

TEST(EstimateResidual, AnAddendFromElsewhere) {
  AlteredRun run;
  const Matrix y = sum(run.values("blk0/out"), 1, run.values("blk1/down_proj"), 1);
  const Proposal found = simplest(run.facts("blk1/out", y), estimate_residual);
  EXPECT_EQ(found.parameters.value("taken", ""), "what went into the layer") << found.parameters;
  EXPECT_EQ(found.parameters.value("addend", ""), "ffn_inp");
}

TEST(EstimateResidual, FromRmsAlone) {
  AlteredRun run;
  const Matrix y = sum(run.values("blk0/out"), 1, run.values("blk1/o_proj"), 0.37);
  const auto hold = that_hold(run.facts("blk1/ffn_inp", y, false), estimate_residual);
  const bool is_there = std::any_of(hold.begin(), hold.end(), [](const Proposal& proposal) {
    return proposal.parameters.value("addend", "") == "o_proj" &&
           std::abs(proposal.parameters.value("factor", 0.0) - 0.37) < 1e-3;
  });
  EXPECT_TRUE(is_there) << test::listed(hold);
}

TEST(EstimateResidual, NothingOfARightSum) {
  test::expect_nothing_proposed(trace::StageKind::kResidual, estimate_residual);
}

const std::vector<int32_t> kPromptIds = {1, 5, 900, 33, 1207, 64, 5, 18};

Matrix rows(const AlteredRun& run, const std::function<int32_t(int32_t)>& row_of) {
  const gguf::Tensor& table = *run.steps().view().find_tensor("token_embd.weight");
  Matrix y(kPromptIds.size(), table.n_cols());
  for (size_t t = 0; t < kPromptIds.size(); ++t) {
    const auto row = run.steps().weight_row(table, static_cast<uint64_t>(row_of(kPromptIds[t])));
    std::copy(row.begin(), row.end(), y.row(t).begin());
  }
  return y;
}

TEST(EstimateEmbeddings, TheRowThatWasTaken) {
  AlteredRun run(kPromptIds);
  for (const bool with_values : {true, false}) {
    const auto facts = run.facts("embeddings", rows(run, [](int32_t id) { return id + 2; }), with_values);
    const Proposal off = simplest(facts, estimate_embeddings);
    EXPECT_EQ(off.id, "embedding_row");
    EXPECT_EQ(off.parameters.value("offset", 0), 2) << off.parameters;
  }
  const Proposal one =
      simplest(run.facts("embeddings", rows(run, [](int32_t id) { return id == 33 ? 77 : id; })), estimate_embeddings);
  EXPECT_EQ(one.parameters["tokens"], Json({33}));
  EXPECT_EQ(one.parameters["rows"], Json({77}));
}

// Its last tokens leave the table, and go round or stay at its end.
TEST(EstimateEmbeddings, AnOffsetBeyondTheTable) {
  const auto n = static_cast<int32_t>(AlteredRun().steps().view().find_tensor("token_embd.weight")->n_rows());
  std::vector<int32_t> prompt = kPromptIds;
  prompt[3] = n - 1;
  prompt[6] = n - 2;
  AlteredRun run(prompt);
  const gguf::Tensor& table = *run.steps().view().find_tensor("token_embd.weight");
  for (const bool goes_round : {true, false}) {
    for (const bool with_values : {true, false}) {
      Matrix y(prompt.size(), table.n_cols());
      for (size_t t = 0; t < prompt.size(); ++t) {
        const int32_t id = goes_round ? (prompt[t] + 3) % n : std::min(prompt[t] + 3, n - 1);
        const auto row = run.steps().weight_row(table, static_cast<uint64_t>(id));
        std::copy(row.begin(), row.end(), y.row(t).begin());
      }
      const Proposal off = simplest(run.facts("embeddings", y, with_values), estimate_embeddings);
      EXPECT_EQ(off.id, "embedding_row");
      EXPECT_EQ(off.parameters.value("offset", 0), 3) << off.parameters;
    }
  }
}

TEST(EstimateEmbeddings, AFactor) {
  AlteredRun run(kPromptIds);
  constexpr double kFactor = 1.370412759009819996;
  Matrix y = rows(run, [](int32_t id) { return id; });
  for (double& value : y.values) {
    value *= kFactor;
  }
  for (const bool with_values : {true, false}) {
    const auto hold = that_hold(run.facts("embeddings", y, with_values), estimate_embeddings);
    const Proposal* const found = test::find(hold, "embedding_scale");
    ASSERT_NE(found, nullptr) << test::listed(hold);
    EXPECT_NEAR(found->parameters.value("factor", 0.0), kFactor, 1e-4);
  }
  EXPECT_EQ(test::listed(estimate_embeddings(run.facts("embeddings", run.values("embeddings")))), "");
}

std::optional<outcome::Cause> cause(std::vector<int32_t> subject, std::vector<int32_t> reference) {
  trace::RunResult a, b;
  a.prompt_tokens = std::move(subject);
  b.prompt_tokens = std::move(reference);
  return cause_of_prompts(SpecialIds{100, 200}, a, b);
}

TEST(EstimatePrompt, LooksAtWhatTheIdsAre) {
  EXPECT_FALSE(cause({1, 2}, {1, 2}));
  EXPECT_FALSE(cause({}, {1, 2}));
  EXPECT_EQ(cause({1, 2}, {100, 1, 2})->id, "missing_bos");
  EXPECT_EQ(cause({100, 100, 1}, {100, 1})->id, "doubled_bos");
  EXPECT_EQ(cause({100, 100, 1}, {100, 1})->parameters["n_bos"], 2);
  // An id in front that is no BOS is none that is missing.
  EXPECT_EQ(cause({1, 2}, {7, 1, 2})->id, "tokenizer");
  EXPECT_EQ(cause({1, 2, 200}, {1, 2})->parameters["eos"], 200);
  EXPECT_EQ(cause({1, 2, 3}, {1, 9, 3})->parameters["position"], 1);
}

}  // namespace
}  // namespace tern::estimate
