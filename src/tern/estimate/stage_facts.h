// What is known around one wrong tensor of a run: what the side computed, what it should have computed from the same
// inputs, these inputs, and the model file. Estimators (estimators.h) read nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/oracle/steps.h"
#include "tern/trace/run_folder.h"

namespace tern::estimate {

using oracle::Matrix;  // [n_tokens, n_features], row-major, double

class StageFacts {
 public:
  // `side`: the run that is wrong. `exact`: what the oracle makes of the same inputs (of the side's own where it has
  // values, otherwise of the oracle's, which agree with the side's up to the first wrong tensor). `steps`: the oracle's
  // single operations on this model. All must outlive this.
  StageFacts(const trace::EngineRun& side, const trace::EngineRun& exact, const oracle::Steps& steps,
             const trace::TensorId& id);

  const trace::TensorId& id() const;
  const oracle::Steps& steps() const;

  // What the side computed; nullopt where it recorded hash and RMS only.
  const std::optional<Matrix>& is() const;
  std::optional<double> rms() const;  // of what the side computed
  const Matrix& should() const;

  // A stage of the same layer, pass and piece, as it went into this one. Stages outside of the layers are found too.
  // nullopt where nobody recorded its values.
  std::optional<Matrix> input(trace::Stage stage) const;
  // The same with all tokens of the passes before: what a cache holds. nullopt where a pass is missing.
  std::optional<Matrix> history(trace::Stage stage) const;
  // What went into this layer: the embeddings, or `out` of the layer before.
  std::optional<Matrix> layer_input() const;

  std::span<const int32_t> tokens() const;  // ids of this pass and piece
  size_t first_position() const;            // where the first of them stands
};

}  // namespace tern::estimate
