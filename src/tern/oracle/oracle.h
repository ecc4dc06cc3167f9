// The third opinion: a plain forward pass in double precision, straight from the model file.
//
// It decides which of two engines is wrong, so it shares nothing with model/ and kernels/: it reads the hyperparameters
// itself, has decoders of its own and follows the textbook. All arithmetic is double, except that activations are
// rounded to integers before a projection whose format demands it. It has no KV cache in float16, no lane order and no
// SIMD. Threads share out the rows of a product, and no row depends on another.
//
// Each step of the pass is a virtual function, so that faults.h can have stand-ins that do exactly one thing wrong, and
// float32.h evaluations that are as right in other arithmetics.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tern/base/error.h"
#include "tern/gguf/view.h"
#include "tern/oracle/matrix.h"
#include "tern/oracle/row_decoders.h"
#include "tern/trace/inputs.h"
#include "tern/trace/neighbourhood.h"
#include "tern/trace/recorder.h"

namespace tern::oracle {

struct Hyperparameters {
  int n_layers = 0, n_embd = 0, n_ff = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0, n_vocab = 0, n_context = 0;
  double rope_base = 10000, norm_epsilon = 1e-5;
  bool relu_squared = false;     // bitnet-b1.58; otherwise SiLU
  bool sub_norms = false;        // bitnet-b1.58 and bitnet
  bool rope_neox_pairs = false;  // pairs (i, i + D/2) instead of (2i, 2i + 1)
};

struct Settings {
  // Each stage's output, and so the cached keys and values too, is rounded to this many significant bits as soon as it
  // is computed: how much a format of that width explains of what an engine differs by. 11 are float16's and 24
  // float32's, without their limits of range. 0: nothing is rounded.
  int significant_bits = 0;
  const trace::Inputs* inputs = nullptr;  // where set, each stage is computed from these; must outlive the oracle
  // A tensor of whose neighbourhood alone anything is computed, from what `inputs` say goes into it.
  std::optional<trace::TensorId> around = std::nullopt;
  int n_threads = 1;  // of a product, at least 1
  // The price of one tensor: this one alone is computed. What is executed before it is computed only where `inputs`
  // have no values of it, and what is executed behind it is not. The result is that of a whole pass on the same inputs.
  std::optional<trace::TensorId> only = std::nullopt;
};

// To the nearest number of that many bits, to the even one of two that are equally near.
double round_to_significant_bits(double x, int bits);

class Oracle {
 public:
  // `view` must outlive the oracle. Errors: kInvalidInput for an unknown architecture, a missing key or
  // tensor, or one of another shape.
  static Result<Oracle> load(const gguf::View& view, const Settings& settings = {});
  virtual ~Oracle() = default;
  Oracle(const Oracle&) = default;
  Oracle(Oracle&&) = default;
  Oracle& operator=(const Oracle&) = delete;
  Oracle& operator=(Oracle&&) = delete;

  // Whether it can decode weights of this format and round activations as it demands.
  static bool can_compute(const quant::Format& format);

  const Hyperparameters& hyperparameters() const { return hp_; }

  // Evaluates `tokens` after those of earlier calls and returns their logits, [n_tokens, n_vocab]; none where the
  // settings leave them out. `recorder` may be null. Stages are recorded as float32 under step `seq` and piece
  // `ubatch`. Errors: kInvalidInput for an id outside of the vocabulary or a context that is full, and where the inputs
  // lack what goes into the neighbourhood; those of the recorder.
  Result<std::vector<double>> evaluate(std::span<const int32_t> tokens, int seq, int ubatch, trace::Recorder* recorder);

 protected:
  using Matrix = oracle::Matrix;
  struct Layer {
    std::vector<double> attn_norm, attn_sub_norm, ffn_norm, ffn_sub_norm;
    const gguf::Tensor *q = nullptr, *k = nullptr, *v = nullptr, *o = nullptr;
    const gguf::Tensor *gate = nullptr, *up = nullptr, *down = nullptr;
    std::vector<double> keys, values;  // [position, n_kv_heads * head_dim]: everything seen so far
  };
  // Where the stages of one evaluate() call go.
  struct Pass {
    trace::Recorder* recorder;
    int seq, ubatch;
    size_t n_tokens;
  };

  // The output of one stage, with `n_features` for each token (or, of the scores, for each token of each head). It is
  // computed, unless Settings::only names another tensor and this one need not be.
  template <class Compute>
  Result<Matrix> stage(const Pass& pass, trace::Stage stage, int layer, size_t n_features,
                       const Compute& compute) const;

  // Every stage ends here: rounds it where the settings say so, records it, and takes over the inputs' values where
  // there are any.
  virtual Status finish_stage(const Pass& pass, trace::Stage stage, int layer, Matrix& matrix) const;

  // Puts the inputs' values of that tensor in the place of what is in `matrix`; false where there are none.
  virtual bool take_over(const trace::TensorId& id, Matrix& matrix) const;

  Matrix embed(std::span<const int32_t> tokens) const;
  virtual Matrix norm(const Matrix& x, std::span<const double> weight) const;
  Matrix norm_with(const Matrix& x, std::span<const double> weight, double epsilon) const;
  virtual double sum_of_squares(std::span<const double> x) const;
  Matrix project(const Matrix& x, const gguf::Tensor& weight) const;
  // Brings `x` into the form in which it is multiplied with this weight, and returns what one unit of each row
  // stands for.
  virtual std::vector<double> prepare_input(Matrix& x, const gguf::Tensor& weight) const;
  // Fills in row `r` of a matrix.
  using RowOf = std::function<void(uint64_t r, WeightRow& row)>;
  // y[t][r] = scaled(dot(row r, x[t])), of `n_rows` rows that stand for those of `weight`; `x` and `units` are what
  // prepare_input() made. `row_of` is called from that many threads.
  Matrix product(const Matrix& x, std::span<const double> units, const gguf::Tensor& weight, uint64_t n_rows,
                 const RowOf& row_of, int n_threads) const;
  // Whether dot() of so many whole numbers comes out exactly, weights and inputs being at most this large.
  static constexpr double kLargestWholeWeight = 4, kLargestWholeInput = 128;
  virtual bool adds_exactly(size_t n_products) const { return n_products < size_t{1} << 22; }
  virtual double scaled(double product, double weight_scale, double unit) const;
  std::vector<double> leave_as_it_is(Matrix& x) const;
  // Rounds each row of `x` to int8 and returns what one unit of each row stands for.
  virtual std::vector<double> round_to_int8(Matrix& x) const;
  // As ggml rounds activations in front of these weights; what they stand for stays in `x`.
  std::vector<double> round_to_q8_0(Matrix& x) const;
  std::vector<double> round_to_q8_k(Matrix& x) const;
  virtual double round_to_step(double steps) const;
  virtual void weight_row(const gguf::Tensor& weight, uint64_t row, WeightRow& out) const;
  virtual double dot(const gguf::Tensor& weight, std::span<const double> row, std::span<const double> input) const;
  // Turns each pair of features of each head by its angle.
  Matrix rope(const Matrix& x, int n_heads) const;
  virtual std::pair<double, double> turned(double a, double b, double angle) const;
  // Of pair `i` of a head, radians.
  virtual double rope_angle(size_t position, size_t i) const;
  // Where token `t` of this evaluate() call stands, for RoPE.
  virtual size_t rope_position(size_t t) const;
  // [n_heads * n_tokens, keys]: how much of each key a token takes, 0 for masked ones.
  Matrix attention_scores(const Matrix& q, const Layer& layer) const;
  virtual size_t n_visible_keys(size_t position, size_t n_keys) const;
  // Where in the cache the token at `position` looks for the key and value of position `key`.
  virtual size_t cache_slot(size_t position, size_t key) const;
  virtual size_t kv_head_of(size_t head) const;
  virtual double score_divisor() const;
  // A query, key, value or score as it goes into the products of attention: here, as it is.
  virtual double attention_operand(double value) const { return value; }
  Matrix mix_values(const Matrix& scores, const Layer& layer) const;
  virtual double activation(double gate) const;
  Matrix activate(const Matrix& gate, const Matrix& up) const;

  Result<Matrix> attention_block(const Matrix& x, Layer& layer, int index, const Pass& pass) const;
  Result<Matrix> feed_forward_block(const Matrix& x, const Layer& layer, int index, const Pass& pass) const;
  static Matrix sum(const Matrix& x, const Matrix& term);
  Status run_layers(Matrix& x, const Pass& pass);

  const gguf::View* view_;
  Settings settings_;
  Hyperparameters hp_;
  const gguf::Tensor* embeddings_ = nullptr;
  const gguf::Tensor* head_ = nullptr;  // the embeddings again where they are tied
  std::vector<double> output_norm_;
  std::vector<Layer> layers_;
  size_t n_past_ = 0;

 private:
  struct InputRule;
  static const InputRule* input_rule(const quant::Format& format);  // null: unknown

  Oracle(const gguf::View& view, const Settings& settings) : view_(&view), settings_(settings) {}
  trace::Shape shape_of(trace::Stage stage, const Matrix& matrix) const;
  // Whether Settings::only is set, and that tensor is executed before `id`.
  bool is_behind(const trace::TensorId& id) const { return settings_.only && *settings_.only < id; }
  // Where a layer of an earlier pass was passed over, its keys and values are not there.
  Status check_cache(const Layer& layer, int index) const;
};

}  // namespace tern::oracle
