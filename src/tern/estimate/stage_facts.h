// What is known around one wrong tensor of a run: what the side computed, what it should have computed from the same
// inputs, these inputs, and the model file. Estimators (estimators.h) read nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tern/gguf/view.h"
#include "tern/oracle/steps.h"
#include "tern/trace/run_folder.h"

namespace tern::estimate {

using oracle::Matrix;  // [n_tokens, n_features], row-major, double

// Values of a tensor; nullopt where they are not recorded.
using Lookup = std::function<std::optional<Matrix>(const trace::TensorId& id)>;

class StageFacts {
 public:
  // `side`: the run that is wrong. `exact`: what the oracle makes of the same inputs (of the side's own where it has
  // values, otherwise of the oracle's, which agree with the side's up to the first wrong tensor). `steps`: the oracle's
  // single operations on this model. All must outlive this, and `exact` has values of the tensor. `before`: a run of
  // which values are taken that neither of the two has, and, where the side has none, all of those that are executed
  // before `known_before`; may be null.
  StageFacts(const trace::EngineRun& side, const trace::EngineRun& exact, const oracle::Steps& steps,
             const trace::TensorId& id, const trace::EngineRun* before = nullptr,
             const std::optional<trace::TensorId>& known_before = std::nullopt);

  // A stage of a pass that is being computed, where nothing is known of what a side computed.
  struct Pass {
    std::vector<std::pair<trace::TensorId, size_t>> pieces;  // seq and ubatch of each up to this one, and its tokens
    std::vector<int32_t> tokens;                             // of this one
    Lookup computed;
  };
  StageFacts(const Pass& pass, const oracle::Steps& steps, const trace::TensorId& id, Matrix should);

  const trace::TensorId& id() const { return id_; }
  const oracle::Steps& steps() const { return *steps_; }

  // What the side computed; nullopt where it recorded hash and RMS only.
  const std::optional<Matrix>& is() const { return is_; }
  std::optional<double> rms() const { return rms_; }  // of what the side computed
  const Matrix& should() const { return should_; }

  // What one value may differ by for reasons of rounding, as measured on these inputs; without a measurement, what
  // float32 demands.
  double rounding() const { return rounding_; }
  void set_rounding(double largest) { rounding_ = largest; }

  // A stage of the same layer, pass and piece, as it went into this one. Stages outside of the layers are found too.
  // nullopt where its values are not recorded.
  std::optional<Matrix> input(trace::Stage stage) const;
  // The same with all tokens of the passes before: what a cache holds. nullopt where a pass is missing.
  std::optional<Matrix> history(trace::Stage stage) const;
  // What went into this layer: the embeddings, or `out` of the layer before; for stages behind all layers, `out` of the
  // last one.
  std::optional<Matrix> layer_input() const;

  std::span<const int32_t> tokens() const { return pass_.tokens; }  // ids of this pass and piece
  size_t first_position() const;                                    // where the first of them stands

 private:
  trace::TensorId at(trace::Stage stage) const;

  trace::TensorId id_;
  const oracle::Steps* steps_;
  Pass pass_;
  std::optional<Matrix> is_;
  std::optional<double> rms_;
  Matrix should_;
  double rounding_ = 0;
};

// A tensor's values as rows of features; attention scores get a row for each token of each head.
Matrix matrix_of(const trace::Shape& shape, std::span<const float> values);

// The pieces of a run up to the one that the tensor is of, as StageFacts::Pass::pieces; none where the run has no
// record of that stage there.
std::vector<std::pair<trace::TensorId, size_t>> pieces_up_to(const trace::EngineRun& run, const trace::TensorId& id);

// The ids that went into one piece of a run: of its prompt, or what a decode step was fed.
std::vector<int32_t> tokens_of_piece(const trace::RunResult& result, int seq, size_t first, size_t n_tokens);

}  // namespace tern::estimate
