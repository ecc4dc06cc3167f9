#include "tern/app/third_opinion.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/app/opened_model.h"
#include "tern/app/own_engine.h"
#include "tern/arch/model_file.h"
#include "tern/estimate/explain.h"
#include "tern/estimate/prompt.h"
#include "tern/oracle/faults.h"
#include "tern/oracle/float32.h"

namespace tern::app {
namespace {

// float16's: coarser than any engine that works in float32, and what one on float16 activations would have.
constexpr int kRoundedBits = 11;

// Further samples of rounding, about as coarse: float16's in products and sums of its own, and finer ones.
constexpr int kAlsoRoundedBits[] = {9, 10, 12, 13};

// Multiplications that take the oracle some seconds.
constexpr uint64_t kMaxProducts = 5'000'000'000;

constexpr size_t kMaxProbeTokens = 512;

uint64_t products_per_token(const gguf::View& view) {
  uint64_t n = 0;
  for (const gguf::Tensor& tensor : view.tensors()) {
    n += tensor.dims.size() > 1 ? tensor.n_elements() : 0;
  }
  return n;
}

Result<std::optional<outcome::Cause>> estimate_cause(const arbiter::WrongSide& wrong, Json& tried) {
  TERN_ASSIGN_OR_RETURN(const gguf::View view, gguf::View::open(wrong.question.model));
  TERN_ASSIGN_OR_RETURN(const oracle::Steps steps, oracle::Steps::load(view));
  std::optional<trace::EngineRun> before;
  if (!wrong.question.inputs_from.empty()) {
    TERN_ASSIGN_OR_RETURN(before, trace::read_run_folder(wrong.question.inputs_from));
  }
  estimate::WrongSide side;
  side.side = wrong.side;
  side.exact = &wrong.exact;
  side.noise = &wrong.noise;
  side.arbitration = &wrong.arbitration;
  side.before = before ? &*before : nullptr;
  side.known_before = trace::TensorId::parse(wrong.question.inputs_before);
  side.around = trace::TensorId::parse(wrong.question.around);
  return estimate::explain(side, steps, tried);
}

}  // namespace

Result<arbiter::OracleEngines> oracle_engines() {
  arbiter::OracleEngines engines;
  TERN_ASSIGN_OR_RETURN(engines.plain, make_tern_peer(oracle_engine_words()));
  const auto rounded = [](int bits) {
    return make_tern_peer(oracle_engine_words({"--significant-bits", std::to_string(bits)}));
  };
  TERN_ASSIGN_OR_RETURN(engines.rounded, rounded(kRoundedBits));
  for (const int bits : kAlsoRoundedBits) {
    TERN_ASSIGN_OR_RETURN(engines.also_rounded.emplace_back(), rounded(bits));
  }
  for (const oracle::Float32Rules& rules : oracle::kFloat32Evaluations) {
    TERN_ASSIGN_OR_RETURN(auto engine, make_tern_peer(oracle_engine_words({"--arithmetic", std::string(rules.name)})));
    engines.float32.push_back(std::move(engine));
  }
  for (const oracle::Hypothesis& hypothesis : oracle::hypotheses()) {
    const std::string name(hypothesis.fault);
    TERN_ASSIGN_OR_RETURN(auto engine, make_tern_peer(oracle_engine_words({"--fault", name})));
    engines.faults.push_back({name,
                              std::string(oracle::find_fault(name)->cause),
                              {hypothesis.changes.begin(), hypothesis.changes.end()},
                              {hypothesis.always_changes.begin(), hypothesis.always_changes.end()},
                              std::move(engine)});
  }
  TERN_ASSIGN_OR_RETURN(const std::filesystem::path program, own_program());
  engines.one_tensor = {program.string(), "oracle-tensor"};
  engines.estimate = estimate_cause;
  engines.estimate_prompts = [](const std::filesystem::path& model, const trace::RunResult& subject,
                                const trace::RunResult& reference) {
    return estimate::cause_of_prompts(model, subject, reference);
  };
  return engines;
}

Result<std::vector<arbiter::KnownArithmetic>> known_arithmetics(const gguf::View& view) {
  std::vector<arbiter::KnownArithmetic> known;
  if (view.format_of_type(quant::kI2sBitnetCpp.type_id) != &quant::kI2sBitnetCpp) {
    return known;
  }
  for (const OwnArithmetic& arithmetic : own_arithmetics()) {
    TERN_ASSIGN_OR_RETURN(auto engine, make_tern_peer({"--activation-rounding", std::string(arithmetic.option)}));
    known.push_back({std::string(arithmetic.name), std::move(engine)});
  }
  return known;
}

std::vector<int32_t> arithmetic_probe(const gguf::View& view) {
  const gguf::Tensor* embedding = arch::embedding_table(view);
  if (embedding == nullptr || embedding->n_rows() == 0) {
    return {};
  }
  const uint64_t n = std::min<uint64_t>(arch::context_length(view).value_or(kMaxProbeTokens), kMaxProbeTokens);
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < n; ++i) {
    ids.push_back(static_cast<int32_t>((i * 2654435761U >> 7) % embedding->n_rows()));  // Knuth's multiplicative hash
  }
  return ids;
}

std::string why_no_oracle(AskOracle ask, const gguf::View& view, size_t n_positions) {
  if (ask == AskOracle::kNever || ask == AskOracle::kNear) {
    return ask == AskOracle::kNever ? "--oracle never"
                                    : "--oracle near asks it only about a difference of which the values are known";
  }
  if (const Status computable = check_oracle_can_compute(view); !computable) {
    return "it cannot compute this model: " + computable.error().line();
  }
  const uint64_t n_products = products_per_token(view) * n_positions;
  return ask == AskOracle::kAuto && n_products > kMaxProducts
             ? fmt::format("{:.3g} products would take it long; --oracle always asks it",
                           static_cast<double>(n_products))
             : std::string();
}

}  // namespace tern::app
