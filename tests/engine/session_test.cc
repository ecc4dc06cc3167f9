// What holds for every model: results that depend on nothing but the request, on any layout and number of threads, and
// that agree with the plain double-precision evaluation.
#include "tern/engine/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/small_model.h"
#include "support/paths.h"
#include "tern/kernels/dispatch.h"
#include "tern/oracle/oracle.h"
#include "tern/synth/synthetic_model.h"

namespace tern::engine {
namespace {

using trace::Stage;

std::vector<int32_t> some_prompt(size_t n) {
  std::vector<int32_t> ids(n);
  for (size_t i = 0; i < n; ++i) ids[i] = static_cast<int32_t>(i * 7 % 40);
  return ids;
}

gguf::View open(const std::filesystem::path& path) {
  auto view = gguf::View::open(path);
  EXPECT_TRUE(view) << view.error().line();
  return std::move(*view);
}

std::unique_ptr<Session> session_of(const gguf::View& view, SessionOptions options = {}) {
  if (options.table == nullptr) {
    options.table = kernels::runnable_tables().back();
  }
  auto session = Session::create(view, options);
  EXPECT_TRUE(session) << session.error().line();
  return std::move(*session);
}

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logits;
};

Outcome run(Session& session, GenerationRequest request) {
  Outcome outcome;
  request.on_logits = [&outcome](std::span<const float> rows) -> Status {
    outcome.logits.insert(outcome.logits.end(), rows.begin(), rows.end());
    return {};
  };
  const auto generation = session.generate(request);
  EXPECT_TRUE(generation) << generation.error().line();
  outcome.tokens = generation->tokens;
  return outcome;
}

class AnyModel : public testing::Test {
 protected:
  gguf::View synthetic(const std::string& architecture, const quant::Format* layout) {
    synth::SyntheticOptions options;
    options.shape = *synth::synthetic_shape("tiny");
    options.shape.n_layers = 2;
    options.architecture = architecture;
    options.weights = layout;
    const auto path = folder_.path() / "synthetic.gguf";
    const Status written = synth::write_synthetic_model(path, options);
    EXPECT_TRUE(written) << written.error().line();
    return open(path);
  }
  gguf::View small(const std::string& architecture, const quant::Format* projections) {
    const auto path = folder_.path() / "small.gguf";
    EXPECT_TRUE(test::SmallModel(architecture, projections).write(path));
    return open(path);
  }

  test::TemporaryFolder folder_;
};

template <class Number>
double cosine(std::span<const float> a, std::span<const Number> b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto x = static_cast<double>(a[i]);
    const auto y = static_cast<double>(b[i]);
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / std::sqrt(aa * bb);
}

// What precedes the float16 cache agrees to float32's precision, but for an int8 that falls to the other side of a tie.
void expect_early_stages_agree(const trace::MemoryRecorder& ours, const trace::MemoryRecorder& oracles,
                               const std::string& what) {
  for (const Stage stage : {Stage::kEmbeddings, Stage::kAttnNorm, Stage::kQProj, Stage::kKProj, Stage::kVProj}) {
    const auto values_of = [stage](const trace::MemoryRecorder& recorder) {
      const auto at = std::find_if(recorder.records().begin(), recorder.records().end(), [stage](const auto& record) {
        return record.id.stage == stage && record.id.layer <= 0;
      });
      EXPECT_NE(at, recorder.records().end());
      return std::span<const float>(recorder.values()[static_cast<size_t>(at - recorder.records().begin())]);
    };
    EXPECT_GT(cosine(values_of(ours), values_of(oracles)), 1 - 1e-7) << what << ", " << stage.name();
  }
}

// Each position's logits against the oracle's, for prompts that are evaluated in pieces of any size. `least`:
// the cosine that must be reached. The oracle keeps keys and values in double; where activations are rounded to
// int8, float16's small differences push some of them over a tie, and each later layer multiplies that up to
// int8's own noise.
void expect_agreement_with_oracle(const gguf::View& view, double least, const std::string& what) {
  const auto prompt = some_prompt(19);
  auto oracle = oracle::Oracle::load(view);
  ASSERT_TRUE(oracle) << oracle.error().line();
  trace::MemoryRecorder oracles(/*keep_values=*/true);
  const auto wanted = oracle->evaluate(prompt, 0, 0, &oracles);
  ASSERT_TRUE(wanted) << wanted.error().line();
  for (const int64_t ubatch : {1, 2, 8, 18, 512}) {
    const auto session = session_of(view, {.n_threads = 2, .ubatch = ubatch});
    trace::MemoryRecorder ours(/*keep_values=*/true);
    const Outcome outcome = run(*session, {.prompt = prompt, .recorder = &ours});
    if (ubatch == 512) {
      expect_early_stages_agree(ours, oracles, what);
    }
    ASSERT_EQ(outcome.logits.size(), wanted->size());
    const auto n_vocab = static_cast<size_t>(session->hyperparameters().n_vocab);
    for (size_t row = 0; row < prompt.size(); ++row) {
      const double similarity = cosine(std::span<const float>(outcome.logits).subspan(row * n_vocab, n_vocab),
                                       std::span<const double>(*wanted).subspan(row * n_vocab, n_vocab));
      EXPECT_GT(similarity, least) << what << ", ubatch " << ubatch << ", position " << row;
    }
  }
}

TEST_F(AnyModel, AgreesWithTheOracle) {
  for (const char* architecture : {"bitnet-b1.58", "bitnet", "llama"}) {
    for (const quant::Format* layout : {&quant::kI2sBitnetCpp, &quant::kI2sBitNet32F16, &quant::kI2sQk256}) {
      expect_agreement_with_oracle(synthetic(architecture, layout), 0.998,
                                   std::string(architecture) + " " + std::string(layout->layout));
    }
  }
}

TEST_F(AnyModel, FloatProjectionsAgreeWithTheOracle) {
  for (const char* architecture : {"bitnet-b1.58", "bitnet", "llama"}) {
    expect_agreement_with_oracle(small(architecture, &quant::kF32), 0.99999, architecture);
    expect_agreement_with_oracle(small(architecture, &quant::kF16), 0.99999, architecture);
  }
}

TEST_F(AnyModel, ThreadsAndInstructionSetsGiveTheSameBits) {
  std::vector<gguf::View> views;
  for (const quant::Format* layout : {&quant::kI2sBitnetCpp, &quant::kI2sBitNet32F16, &quant::kI2sQk256}) {
    views.push_back(synthetic("bitnet-b1.58", layout));
  }
  views.push_back(small("llama", &quant::kF16));
  for (const gguf::View& view : views) {
    const GenerationRequest request{.prompt = {}, .max_tokens = 4};
    const auto prompt = some_prompt(19);
    std::optional<Outcome> first;
    for (const kernels::KernelTable* table : kernels::runnable_tables()) {
      for (const int n_threads : {1, 2, 3, 8}) {
        GenerationRequest this_request = request;
        this_request.prompt = prompt;
        const Outcome outcome = run(*session_of(view, {.table = table, .n_threads = n_threads}), this_request);
        if (!first) {
          first = outcome;
        }
        EXPECT_EQ(outcome.tokens, first->tokens);
        ASSERT_EQ(outcome.logits.size(), first->logits.size());
        EXPECT_EQ(std::memcmp(outcome.logits.data(), first->logits.data(), outcome.logits.size() * sizeof(float)), 0)
            << table->name << ", threads " << n_threads;
      }
    }
  }
}

TEST_F(AnyModel, TokensDoNotDependOnWhoWatches) {
  const gguf::View view = synthetic("bitnet-b1.58", &quant::kI2sBitnetCpp);
  const auto session = session_of(view, {.ubatch = 16});
  const auto prompt = some_prompt(33);
  const auto unwatched = session->generate({.prompt = prompt, .max_tokens = 24});
  ASSERT_TRUE(unwatched);
  trace::MemoryRecorder recorder;
  const auto traced = session->generate({.prompt = prompt, .max_tokens = 24, .recorder = &recorder});
  ASSERT_TRUE(traced);
  EXPECT_EQ(traced->tokens, unwatched->tokens);
  EXPECT_EQ(run(*session, {.prompt = prompt, .max_tokens = 24}).tokens, unwatched->tokens);
  // 3 pieces of the prompt and 23 decode steps, 18 stages in each of 2 layers and 3 outside of them.
  EXPECT_EQ(recorder.records().size(), size_t{(3 + 23) * (2 * 18 + 3)});
  // A second generation does not depend on the first.
  EXPECT_EQ(session->generate({.prompt = prompt, .max_tokens = 24})->tokens, unwatched->tokens);
}

// With and without an int8 copy of the head, watched or not: the same ids.
TEST_F(AnyModel, TokensDoNotDependOnHowTheHeadIsRead) {
  const gguf::View view = synthetic("bitnet-b1.58", &quant::kI2sBitnetCpp);
  const auto prompt = some_prompt(9);
  for (const bool head_as_single : {false, true}) {
    std::vector<std::vector<int32_t>> tokens;
    for (const HeadCopy head_copy : {HeadCopy::kNever, HeadCopy::kWhenWorthIt, HeadCopy::kAlways}) {
      const auto session = session_of(view, {.n_threads = 2, .head_as_single = head_as_single, .head_copy = head_copy});
      for (int repetition = 0; repetition < 2; ++repetition) {  // the second one finds the copy in place
        const auto generation = session->generate({.prompt = prompt, .max_tokens = 80});
        ASSERT_TRUE(generation) << generation.error().line();
        EXPECT_EQ(generation->head_copy_s > 0, head_copy != HeadCopy::kNever && repetition == 0);
        tokens.push_back(generation->tokens);
      }
      tokens.push_back(run(*session, {.prompt = prompt, .max_tokens = 80}).tokens);
    }
    EXPECT_THAT(tokens, testing::Each(tokens.front()));
  }
}

TEST_F(AnyModel, HeadAsSingleSumsTheLastPositionLikeADecodeStep) {
  const gguf::View view = synthetic("bitnet-b1.58", &quant::kI2sBitnetCpp);
  const auto prompt = some_prompt(9);
  trace::MemoryRecorder batch(true), single(true);
  ASSERT_TRUE(session_of(view)->generate({.prompt = prompt, .recorder = &batch}));
  ASSERT_TRUE(session_of(view, {.head_as_single = true})->generate({.prompt = prompt, .recorder = &single}));
  ASSERT_EQ(single.records().back().id.stage, Stage::kLogits);
  EXPECT_EQ(single.records().back().shape[0], 1);
  EXPECT_EQ(batch.records().back().shape[0], 9);
  const std::vector<float>& one = single.values().back();
  const std::vector<float>& all = batch.values().back();
  const std::vector<float> last(all.end() - static_cast<int64_t>(one.size()), all.end());
  EXPECT_NE(one, last);  // the activations went through float16
  EXPECT_GT(cosine(std::span<const float>(one), std::span<const float>(last)), 0.99999);
}

// Fed its own choices, it goes the same way; fed others, it goes on from them and still states its own choices.
TEST_F(AnyModel, TeacherTokensAreFedInsteadOfItsChoices) {
  const auto view = small("llama", &quant::kF32);
  const auto session = session_of(view);
  const std::vector<int32_t> prompt = {1, 2, 3};
  const Outcome free = run(*session, {.prompt = prompt, .max_tokens = 5});
  const Outcome same = run(*session, {.prompt = prompt, .max_tokens = 5, .teacher = free.tokens});
  EXPECT_EQ(same.tokens, free.tokens);
  EXPECT_EQ(same.logits, free.logits);

  const std::vector<int32_t> teacher = {7, 8};
  const Outcome taught = run(*session, {.prompt = prompt, .max_tokens = 4, .teacher = teacher});
  const std::vector<int32_t> whole = {1, 2, 3, 7, 8};
  const auto by_pieces = session_of(view, {.ubatch = 1});
  const Outcome as_prompt = run(*by_pieces, {.prompt = whole, .max_tokens = 2});
  EXPECT_EQ(taught.tokens[0], free.tokens[0]);
  EXPECT_EQ(taught.tokens[2], as_prompt.tokens[0]);
  EXPECT_EQ(taught.tokens[3], as_prompt.tokens[1]) << "where the teacher has no more, its own choice is fed";

  const std::vector<int32_t> ends = {free.tokens[0]};
  EXPECT_EQ(run(*session, {.prompt = prompt, .max_tokens = 4, .end_ids = ends}).tokens.size(), 1U);
  EXPECT_EQ(run(*session, {.prompt = prompt, .max_tokens = 4, .end_ids = ends, .teacher = teacher}).tokens.size(), 4U);
}

TEST_F(AnyModel, TeacherTokensOutsideOfTheVocabularyAreRefused) {
  const auto view = small("llama", &quant::kF32);
  const auto session = session_of(view);
  const std::vector<int32_t> prompt = {1};
  for (const int32_t bad : {-1, 40}) {
    const std::vector<int32_t> teacher = {2, bad};
    const auto refused = session->generate({.prompt = prompt, .max_tokens = 4, .teacher = teacher});
    ASSERT_FALSE(refused);
    EXPECT_EQ(exit_code(refused.error().code), 3);
    EXPECT_THAT(refused.error().line(), testing::HasSubstr("token 1 of the teacher tokens has id"));
  }
}

TEST_F(AnyModel, StopsAfterAnEndToken) {
  const gguf::View view = synthetic("llama", &quant::kI2sBitnetCpp);
  const auto session = session_of(view);
  const auto prompt = some_prompt(5);
  const auto whole = session->generate({.prompt = prompt, .max_tokens = 12});
  ASSERT_TRUE(whole);
  ASSERT_EQ(whole->tokens.size(), 12U);
  EXPECT_FALSE(whole->ended);
  const std::vector<int32_t> end_ids = {whole->tokens[4]};
  const auto first = std::find(whole->tokens.begin(), whole->tokens.end(), end_ids[0]);
  const auto stopped = session->generate({.prompt = prompt, .max_tokens = 12, .end_ids = end_ids});
  ASSERT_TRUE(stopped);
  EXPECT_TRUE(stopped->ended);
  EXPECT_EQ(stopped->tokens, std::vector<int32_t>(whole->tokens.begin(), first + 1));
}

TEST_F(AnyModel, SeedsMakeSamplingRepeatable) {
  const gguf::View view = synthetic("bitnet", &quant::kI2sBitnetCpp);
  const auto session = session_of(view);
  const auto prompt = some_prompt(5);
  const auto sample = [&](double temperature, uint64_t seed) {
    return session->generate({.prompt = prompt, .max_tokens = 16, .sampling = {temperature, seed}})->tokens;
  };
  EXPECT_EQ(sample(1.0, 1), sample(1.0, 1));
  EXPECT_NE(sample(1.0, 1), sample(1.0, 2));
  EXPECT_EQ(sample(1e-6, 3), sample(0, 4));
}

TEST_F(AnyModel, ErrorsOfTheRecorderEndTheGeneration) {
  class Full final : public trace::Recorder {
   public:
    Status record(const trace::TensorId& id, const trace::Shape&, std::span<const float>, std::string_view) override {
      return id.seq == 1 && id.stage == Stage::kOProj ? fail(ErrorCode::kIo, "disk", "is full") : Status();
    }
  };
  const gguf::View view = small("llama", &quant::kF32);
  Full recorder;
  const auto prompt = some_prompt(3);
  const auto result = session_of(view)->generate({.prompt = prompt, .max_tokens = 3, .recorder = &recorder});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().what, "is full");
}

TEST(Sampler, TiesGoToTheLowestId) {
  EXPECT_EQ(model::argmax(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(model::argmax(std::vector<float>{-1, NAN, -1}), 0);
}

TEST(Sampler, DrawsInProportion) {
  Sampler sampler({.temperature = 2.0, .seed = 9});
  const std::vector<float> logits = {0.0f, 2.0f * std::log(3.0f), -INFINITY};
  constexpr int kDraws = 40000;
  int counts[3] = {};
  for (int i = 0; i < kDraws; ++i) ++counts[sampler.next(logits).value()];
  EXPECT_NEAR(counts[1], 0.75 * kDraws, 5 * std::sqrt(0.75 * 0.25 * kDraws));
  EXPECT_EQ(counts[2], 0);
}

TEST(Sampler, RefusesNan) {
  EXPECT_FALSE(Sampler({.temperature = 1.0}).next(std::vector<float>{1.0f, NAN}));
  EXPECT_FALSE(Sampler({.temperature = 1.0}).next(std::vector<float>{INFINITY, 1.0f}));
}

}  // namespace
}  // namespace tern::engine
