#include "tern/oracle/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <tuple>

#include "tern/base/check.h"

namespace tern::oracle {

using trace::Stage;

double round_to_significant_bits(double x, int bits) {
  if (!std::isfinite(x)) {
    return x;
  }
  int exponent = 0;
  const double mantissa = std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits)), exponent - bits);
}

Status Oracle::finish_stage(const Pass& pass, Stage stage, int layer, Matrix& matrix) const {
  if (settings_.significant_bits > 0) {
    for (double& value : matrix.values) {
      value = round_to_significant_bits(value, settings_.significant_bits);
    }
  }
  const trace::TensorId id{pass.seq, pass.ubatch, layer, stage};
  if (pass.recorder != nullptr) {
    const std::vector<float> values(matrix.values.begin(), matrix.values.end());
    TERN_RETURN_IF_ERROR(pass.recorder->record(id, shape_of(stage, matrix), values));
  }
  take_over(id, matrix);
  return {};
}

trace::Shape Oracle::shape_of(Stage stage, const Matrix& matrix) const {
  const trace::Shape shape = {static_cast<int64_t>(matrix.n_tokens), static_cast<int64_t>(matrix.n_features)};
  return stage == Stage::kAttnScoresSoftmax ? trace::Shape{hp_.n_heads, shape[0] / hp_.n_heads, shape[1]} : shape;
}

bool Oracle::take_over(const trace::TensorId& id, Matrix& matrix) const {
  return settings_.inputs != nullptr &&
         settings_.inputs->take_over(id, shape_of(id.stage, matrix), std::span(matrix.values));
}

Oracle::Matrix Oracle::embed(std::span<const int32_t> tokens) const {
  Matrix x(tokens.size(), static_cast<size_t>(hp_.n_embd));
  for (size_t t = 0; t < tokens.size(); ++t) {
    WeightRow row;
    decode_row(*embeddings_, static_cast<uint64_t>(tokens[t]), row);
    std::copy(row.weights.begin(), row.weights.end(), x.row(t).begin());
  }
  return x;
}

Oracle::Matrix Oracle::norm(const Matrix& x, std::span<const double> weight) const {
  return norm_with(x, weight, hp_.norm_epsilon);
}

// RMSNorm: x / sqrt(mean(x^2) + epsilon) * weight.
Oracle::Matrix Oracle::norm_with(const Matrix& x, std::span<const double> weight, double epsilon) const {
  Matrix y(x.n_tokens, x.n_features);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    const double mean = sum_of_squares(x.row(t)) / static_cast<double>(x.n_features);
    const double scale = 1.0 / std::sqrt(mean + epsilon);
    for (size_t i = 0; i < x.n_features; ++i) {
      y.row(t)[i] = x.row(t)[i] * scale * weight[i];
    }
  }
  return y;
}

double Oracle::sum_of_squares(std::span<const double> x) const {
  return std::accumulate(x.begin(), x.end(), 0.0, [](double sum, double value) { return sum + value * value; });
}

// y[t][r] = sum over columns of weight[r][c] * x[t][c].
Oracle::Matrix Oracle::project(const Matrix& x, const gguf::Tensor& weight) const {
  Matrix input = x;
  const std::vector<double> units = prepare_input(input, weight);
  const auto row_of = [&](uint64_t r, WeightRow& row) { weight_row(weight, r, row); };
  return product(input, units, weight, weight.n_rows(), row_of, settings_.n_threads);
}

double Oracle::scaled(double product, double weight_scale, double unit) const { return product * weight_scale * unit; }

void Oracle::weight_row(const gguf::Tensor& weight, uint64_t row, WeightRow& out) const {
  decode_row(weight, row, out);
}

double Oracle::dot(const gguf::Tensor&, std::span<const double> row, std::span<const double> input) const {
  return std::transform_reduce(row.begin(), row.end(), input.begin(), 0.0);  // adds four products at a time
}

Oracle::Matrix Oracle::rope(const Matrix& x, int n_heads) const {
  Matrix y = x;
  const auto head_dim = static_cast<size_t>(hp_.head_dim);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t i = 0; i < head_dim / 2; ++i) {
      const double angle = rope_angle(rope_position(t), i);
      const size_t first = hp_.rope_neox_pairs ? i : 2 * i;
      const size_t second = hp_.rope_neox_pairs ? i + head_dim / 2 : 2 * i + 1;
      for (size_t h = 0; h < static_cast<size_t>(n_heads); ++h) {
        const auto head = y.row(t).subspan(h * head_dim, head_dim);
        std::tie(head[first], head[second]) = turned(head[first], head[second], angle);
      }
    }
  }
  return y;
}

std::pair<double, double> Oracle::turned(double a, double b, double angle) const {
  return {a * std::cos(angle) - b * std::sin(angle), a * std::sin(angle) + b * std::cos(angle)};
}

// position * base^(-2i / head_dim)
double Oracle::rope_angle(size_t position, size_t i) const {
  return static_cast<double>(position) *
         std::pow(hp_.rope_base, -2.0 * static_cast<double>(i) / static_cast<double>(hp_.head_dim));
}

size_t Oracle::rope_position(size_t t) const { return n_past_ + t; }

// Softmax of q.k / sqrt(head_dim); consecutive query heads share a key head (GQA).
Oracle::Matrix Oracle::attention_scores(const Matrix& q, const Layer& layer) const {
  const auto n_heads = static_cast<size_t>(hp_.n_heads), head_dim = static_cast<size_t>(hp_.head_dim);
  const size_t kv_width = static_cast<size_t>(hp_.n_kv_heads) * head_dim;
  Matrix scores(n_heads * q.n_tokens, layer.keys.size() / kv_width);
  for (size_t h = 0; h < n_heads; ++h) {
    const size_t kv_offset = kv_head_of(h) * head_dim;
    for (size_t t = 0; t < q.n_tokens; ++t) {
      const auto p = scores.row(h * q.n_tokens + t).first(n_visible_keys(n_past_ + t, scores.n_features));
      for (size_t key = 0; key < p.size(); ++key) {
        for (size_t i = 0; i < head_dim; ++i) {
          p[key] += attention_operand(q.row(t)[h * head_dim + i]) *
                    layer.keys[cache_slot(n_past_ + t, key) * kv_width + kv_offset + i];
        }
        p[key] /= score_divisor();
      }
      const double largest = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& score : p) {
        score = std::exp(score - largest);
        sum += score;
      }
      for (double& score : p) {
        score /= sum;
      }
    }
  }
  return scores;
}

// Causal: a token attends to those before it and to itself.
size_t Oracle::n_visible_keys(size_t position, size_t) const { return position + 1; }

size_t Oracle::cache_slot(size_t, size_t key) const { return key; }

size_t Oracle::kv_head_of(size_t head) const { return head / static_cast<size_t>(hp_.n_heads / hp_.n_kv_heads); }

double Oracle::score_divisor() const { return std::sqrt(static_cast<double>(hp_.head_dim)); }

Oracle::Matrix Oracle::mix_values(const Matrix& scores, const Layer& layer) const {
  const auto n_heads = static_cast<size_t>(hp_.n_heads), head_dim = static_cast<size_t>(hp_.head_dim);
  const size_t kv_width = static_cast<size_t>(hp_.n_kv_heads) * head_dim;
  const size_t n_tokens = scores.n_tokens / n_heads;
  Matrix out(n_tokens, n_heads * head_dim);
  for (size_t h = 0; h < n_heads; ++h) {
    const size_t kv_offset = kv_head_of(h) * head_dim;
    for (size_t t = 0; t < n_tokens; ++t) {
      for (size_t key = 0; key < scores.n_features; ++key) {
        for (size_t i = 0; i < head_dim; ++i) {
          out.row(t)[h * head_dim + i] += attention_operand(scores.row(h * n_tokens + t)[key]) *
                                          layer.values[cache_slot(n_past_ + t, key) * kv_width + kv_offset + i];
        }
      }
    }
  }
  return out;
}

template <class Compute>
Result<Oracle::Matrix> Oracle::stage(const Pass& pass, Stage stage, int layer, size_t n_features,
                                     const Compute& compute) const {
  const trace::TensorId id{pass.seq, pass.ubatch, layer, stage};
  if (settings_.only && id != *settings_.only) {
    const bool per_head = stage == Stage::kAttnScoresSoftmax;
    Matrix given(per_head ? static_cast<size_t>(hp_.n_heads) * pass.n_tokens : pass.n_tokens, n_features);
    if (is_behind(id) || take_over(id, given)) {
      return given;
    }
  }
  Matrix matrix = compute();
  TERN_RETURN_IF_ERROR(finish_stage(pass, stage, layer, matrix));
  return matrix;
}

Status Oracle::check_cache(const Layer& layer, int index) const {
  const auto kv_width = static_cast<size_t>(hp_.n_kv_heads) * static_cast<size_t>(hp_.head_dim);
  return layer.keys.size() == n_past_ * kv_width
             ? Status()
             : invalid_input("--inputs-from", fmt::format("holds the output of layer {} in some passes only", index));
}

Result<Oracle::Matrix> Oracle::attention_block(const Matrix& x, Layer& layer, int index, const Pass& pass) const {
  TERN_RETURN_IF_ERROR(check_cache(layer, index));
  const auto n_embd = static_cast<size_t>(hp_.n_embd);
  const auto q_width = static_cast<size_t>(hp_.n_heads) * static_cast<size_t>(hp_.head_dim);
  const auto kv_width = static_cast<size_t>(hp_.n_kv_heads) * static_cast<size_t>(hp_.head_dim);
  TERN_ASSIGN_OR_RETURN(const Matrix normed,
                        stage(pass, Stage::kAttnNorm, index, n_embd, [&] { return norm(x, layer.attn_norm); }));
  TERN_ASSIGN_OR_RETURN(Matrix q,
                        stage(pass, Stage::kQProj, index, q_width, [&] { return project(normed, *layer.q); }));
  TERN_ASSIGN_OR_RETURN(q, stage(pass, Stage::kQRope, index, q_width, [&] { return rope(q, hp_.n_heads); }));
  TERN_ASSIGN_OR_RETURN(Matrix k,
                        stage(pass, Stage::kKProj, index, kv_width, [&] { return project(normed, *layer.k); }));
  TERN_ASSIGN_OR_RETURN(k, stage(pass, Stage::kKRope, index, kv_width, [&] { return rope(k, hp_.n_kv_heads); }));
  TERN_ASSIGN_OR_RETURN(const Matrix v,
                        stage(pass, Stage::kVProj, index, kv_width, [&] { return project(normed, *layer.v); }));
  const auto cached = [this](double value) { return attention_operand(value); };
  std::transform(k.values.begin(), k.values.end(), std::back_inserter(layer.keys), cached);
  std::transform(v.values.begin(), v.values.end(), std::back_inserter(layer.values), cached);

  TERN_ASSIGN_OR_RETURN(const Matrix scores, stage(pass, Stage::kAttnScoresSoftmax, index, layer.keys.size() / kv_width,
                                                   [&] { return attention_scores(q, layer); }));
  TERN_ASSIGN_OR_RETURN(Matrix heads,
                        stage(pass, Stage::kAttnOut, index, q_width, [&] { return mix_values(scores, layer); }));
  if (hp_.sub_norms) {
    TERN_ASSIGN_OR_RETURN(
        heads, stage(pass, Stage::kAttnSubNorm, index, q_width, [&] { return norm(heads, layer.attn_sub_norm); }));
  }
  return stage(pass, Stage::kOProj, index, n_embd, [&] { return project(heads, *layer.o); });
}

double Oracle::activation(double gate) const {
  const double relu = std::max(gate, 0.0);
  return hp_.relu_squared ? relu * relu : gate / (1.0 + std::exp(-gate));
}

Oracle::Matrix Oracle::activate(const Matrix& gate, const Matrix& up) const {
  Matrix out(gate.n_tokens, gate.n_features);
  for (size_t i = 0; i < out.values.size(); ++i) {
    out.values[i] = activation(gate.values[i]) * up.values[i];
  }
  return out;
}

Result<Oracle::Matrix> Oracle::feed_forward_block(const Matrix& x, const Layer& layer, int index,
                                                  const Pass& pass) const {
  const auto n_embd = static_cast<size_t>(hp_.n_embd), n_ff = static_cast<size_t>(hp_.n_ff);
  TERN_ASSIGN_OR_RETURN(const Matrix normed,
                        stage(pass, Stage::kFfnNorm, index, n_embd, [&] { return norm(x, layer.ffn_norm); }));
  TERN_ASSIGN_OR_RETURN(const Matrix gate,
                        stage(pass, Stage::kGateProj, index, n_ff, [&] { return project(normed, *layer.gate); }));
  TERN_ASSIGN_OR_RETURN(const Matrix up,
                        stage(pass, Stage::kUpProj, index, n_ff, [&] { return project(normed, *layer.up); }));
  TERN_ASSIGN_OR_RETURN(Matrix hidden, stage(pass, Stage::kFfnAct, index, n_ff, [&] { return activate(gate, up); }));
  if (hp_.sub_norms) {
    TERN_ASSIGN_OR_RETURN(
        hidden, stage(pass, Stage::kFfnSubNorm, index, n_ff, [&] { return norm(hidden, layer.ffn_sub_norm); }));
  }
  return stage(pass, Stage::kDownProj, index, n_embd, [&] { return project(hidden, *layer.down); });
}

// The residual stream and what a block adds to it.
Oracle::Matrix Oracle::sum(const Matrix& x, const Matrix& term) {
  Matrix y(x.n_tokens, x.n_features);
  std::transform(x.values.begin(), x.values.end(), term.values.begin(), y.values.begin(), std::plus<>());
  return y;
}

// All layers' work on the residual stream `x`.
Status Oracle::run_layers(Matrix& x, const Pass& pass) {
  const auto n_embd = static_cast<size_t>(hp_.n_embd);
  const trace::Neighbourhood around(settings_.around.value_or(trace::TensorId()), hp_.n_layers);
  for (int index = 0; index < hp_.n_layers; ++index) {
    const trace::TensorId out{pass.seq, pass.ubatch, index, Stage::kOut};
    if (settings_.around && !around.has_layer(index)) {
      if (!take_over(out, x) && around.holds(out)) {
        return invalid_input("--inputs-from", fmt::format("holds no values of {} in this shape", out.name()));
      }
      continue;
    }
    const bool passed_over = settings_.only && settings_.only->layer != index && (is_behind(out) || take_over(out, x));
    if (passed_over) {
      continue;
    }
    Layer& layer = layers_[static_cast<size_t>(index)];
    TERN_ASSIGN_OR_RETURN(const Matrix attended, attention_block(x, layer, index, pass));
    TERN_ASSIGN_OR_RETURN(x, stage(pass, Stage::kFfnInp, index, n_embd, [&] { return sum(x, attended); }));
    TERN_ASSIGN_OR_RETURN(const Matrix fed, feed_forward_block(x, layer, index, pass));
    TERN_ASSIGN_OR_RETURN(x, stage(pass, Stage::kOut, index, n_embd, [&] { return sum(x, fed); }));
  }
  return {};
}

Result<std::vector<double>> Oracle::evaluate(std::span<const int32_t> tokens, int seq, int ubatch,
                                             trace::Recorder* recorder) {
  TERN_CHECK(!tokens.empty());
  for (const int32_t id : tokens) {
    if (id < 0 || id >= hp_.n_vocab) {
      return invalid_input(view_->name(),
                           fmt::format("token id {} is outside of the vocabulary of {}", id, hp_.n_vocab));
    }
  }
  if (n_past_ + tokens.size() > static_cast<size_t>(hp_.n_context)) {
    return invalid_input(view_->name(), fmt::format("{} tokens do not fit the model's context of {}",
                                                    n_past_ + tokens.size(), hp_.n_context));
  }
  const Pass pass{recorder, seq, ubatch, tokens.size()};
  TERN_ASSIGN_OR_RETURN(
      Matrix x, stage(pass, Stage::kEmbeddings, -1, static_cast<size_t>(hp_.n_embd), [&] { return embed(tokens); }));
  TERN_RETURN_IF_ERROR(run_layers(x, pass));
  n_past_ += tokens.size();
  const bool is_far = settings_.around && !trace::Neighbourhood(*settings_.around, hp_.n_layers).has_head();
  const bool is_another = settings_.only && (settings_.only->seq != seq || settings_.only->ubatch != ubatch ||
                                             settings_.only->stage.row().place != trace::StagePlace::kBehindLayers);
  if (is_far || is_another) {
    return std::vector<double>();
  }
  TERN_ASSIGN_OR_RETURN(const Matrix normed,
                        stage(pass, Stage::kOutputNorm, -1, x.n_features, [&] { return norm(x, output_norm_); }));
  TERN_ASSIGN_OR_RETURN(Matrix logits, stage(pass, Stage::kLogits, -1, static_cast<size_t>(hp_.n_vocab),
                                             [&] { return project(normed, *head_); }));
  return std::move(logits.values);
}

}  // namespace tern::oracle
