// An evaluation that is right but for one drawn fault. Where the fault is, the stage is computed anew from the results
// of the stages before it, out of textbook pieces whose constants, rows, masks and maps are all free. Everything else
// is float32.h's. Private to oracle/: what can go wrong stands in drawn_fault.h.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "tern/oracle/float32.h"

namespace tern::oracle {

class Workbench final : public Float32 {
 public:
  using Oracle::Matrix;

  // A stage that the fault computes.
  struct Place {
    trace::Stage stage;
    int layer = -1;  // -1 outside the layers
    int seq = 0;     // 0 the prefill
  };
  // Overwrites `result`, which holds what a right engine computes there.
  using Change = std::function<void(const Workbench& bench, const Place& place, Matrix& result)>;

  // `tokens`: the prompt's and then the decode steps' ids. `layers`: those that the fault is in; empty: all.
  Workbench(const Oracle& plain, const Float32Rules& rules, std::vector<int32_t> tokens,
            std::vector<trace::Stage> stages, std::vector<int> layers, Change change)
      : Float32(plain, rules),
        tokens_(std::move(tokens)),
        stages_(std::move(stages)),
        faulty_layers_(std::move(layers)),
        change_(std::move(change)) {}

  const Hyperparameters& model() const { return hp_; }
  const gguf::Tensor& embeddings() const { return *embeddings_; }
  int32_t token(size_t position) const { return tokens_.at(position); }
  size_t n_past() const { return n_past_; }

  // What a stage of the layer at hand came to in this pass; it must have been computed.
  const Matrix& of(trace::Stage stage) const { return seen_.at(stage); }
  const Matrix& layer_input(int layer) const { return of(layer == 0 ? trace::Stage::kEmbeddings : trace::Stage::kOut); }
  // What a norm, projection or head is computed from.
  const Matrix& input(const Place& place) const;
  // The matrix of a projection or of the head.
  const gguf::Tensor& weight(trace::Stage stage, int layer) const;
  const std::vector<double>& norm_weight(trace::Stage stage, int layer) const;

  // x / sqrt(mean(x^2) + epsilon) * weight
  Matrix normed(const Matrix& x, std::span<const double> weight, double epsilon) const;

  // Gives row `row` of the matrix that is multiplied with.
  using Rows = std::function<void(uint64_t row, WeightRow& out)>;
  // With activations rounded as `format_of` demands.
  Matrix product(const Matrix& x, const gguf::Tensor& format_of, const Rows& rows) const;
  // The same with activations that are rounded already; units[t]: what one unit of token t stands for.
  Matrix product_of_rounded(const Matrix& x, std::span<const double> units, const gguf::Tensor& matrix,
                            const Rows& rows) const;
  static Rows rows_of(const gguf::Tensor& matrix) {
    return [&matrix](uint64_t row, WeightRow& out) { decode_row(matrix, row, out); };
  }

  struct RopeRule {
    std::function<double(double position, size_t pair)> angle;  // radians
    bool neox_pairs = false;                                    // Hyperparameters::rope_neox_pairs
    size_t n_pairs = 0;                                         // of each head that are turned, the first ones
    double length = 1;                                          // of the turned pairs, behind over before
  };
  RopeRule rope_rule() const;  // the model's own
  Matrix turned_by(const Matrix& x, const RopeRule& rule) const;

  struct AttentionRule {
    double divisor = 1;                                             // of the scores
    std::function<double(double score)> shaped;                     // before the softmax
    std::function<bool(size_t position, size_t key)> sees;          // each position at least one key
    std::function<size_t(size_t head)> kv_head;                     // that a query head reads
    std::function<size_t(size_t position, size_t key)> cache_slot;  // where it looks for that key or value
  };
  AttentionRule attention_rule() const;  // the model's own
  Matrix scores_by(int layer, const AttentionRule& rule) const;
  Matrix mixed_by(int layer, const AttentionRule& rule) const;

  double own_activation(double gate) const { return Float32::activation(gate); }

 protected:
  Status finish_stage(const Pass& pass, trace::Stage stage, int layer, Matrix& matrix) const override;

 private:
  std::vector<int32_t> tokens_;
  std::vector<trace::Stage> stages_;
  std::vector<int> faulty_layers_;
  Change change_;
  mutable std::map<trace::Stage, Matrix> seen_;
};

}  // namespace tern::oracle
