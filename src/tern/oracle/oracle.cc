#include "tern/oracle/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tern/base/check.h"
#include "tern/oracle/weights.h"

namespace tern::oracle {

using trace::Stage;

Status Oracle::Tracer::operator()(Stage stage, int layer, const Matrix& matrix) const {
  if (recorder == nullptr) {
    return {};
  }
  const std::vector<float> values(matrix.values.begin(), matrix.values.end());
  return recorder->record({seq, ubatch, layer, stage},
                          {static_cast<int64_t>(matrix.n_tokens), static_cast<int64_t>(matrix.n_features)}, values);
}

Oracle::Matrix Oracle::embed(std::span<const int32_t> tokens) const {
  Matrix x(tokens.size(), static_cast<size_t>(hp_.n_embd));
  for (size_t t = 0; t < tokens.size(); ++t) {
    const WeightRow row = decode_row(*embeddings_, *view_, static_cast<uint64_t>(tokens[t]));
    std::copy(row.weights.begin(), row.weights.end(), x.row(t).begin());
  }
  return x;
}

// RMSNorm: x / sqrt(mean(x^2) + epsilon) * weight.
Oracle::Matrix Oracle::norm(const Matrix& x, std::span<const double> weight) const {
  Matrix y(x.n_tokens, x.n_features);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    double sum = 0;
    for (const double value : x.row(t)) {
      sum += value * value;
    }
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(x.n_features) + hp_.norm_epsilon);
    for (size_t i = 0; i < x.n_features; ++i) {
      y.row(t)[i] = x.row(t)[i] * scale * weight[i];
    }
  }
  return y;
}

// y[t][r] = sum over columns of weight[r][c] * x[t][c]. In front of a quantized weight, x is rounded to int8 per token:
// that is how BitNet models are trained, so it is part of the model and not an error of an engine.
Oracle::Matrix Oracle::project(const Matrix& x, const gguf::Tensor& weight) const {
  Matrix input = x;
  std::vector<double> step(x.n_tokens, 1.0);  // what one unit of `input` stands for
  if (weight.encoding == quant::Encoding::kI2S) {
    for (size_t t = 0; t < x.n_tokens; ++t) {
      double largest = 1e-5;
      for (const double value : x.row(t)) {
        largest = std::max(largest, std::abs(value));
      }
      step[t] = largest / 127.0;
      for (double& value : input.row(t)) {
        value = std::clamp(std::nearbyint(value * (127.0 / largest)), -128.0, 127.0);
      }
    }
  }
  Matrix y(x.n_tokens, weight.n_rows());
  for (uint64_t r = 0; r < weight.n_rows(); ++r) {
    const WeightRow row = decode_row(weight, *view_, r);
    for (size_t t = 0; t < x.n_tokens; ++t) {
      double sum = 0;
      for (size_t c = 0; c < x.n_features; ++c) {
        sum += row.weights[c] * input.row(t)[c];
      }
      y.row(t)[r] = sum * row.scale * step[t];
    }
  }
  return y;
}

// Rotates each pair of features by position * base^(-2i / head_dim).
void Oracle::rope(Matrix& x, int n_heads) const {
  const auto head_dim = static_cast<size_t>(hp_.head_dim);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t i = 0; i < head_dim / 2; ++i) {
      const double angle = static_cast<double>(n_past_ + t) *
                           std::pow(hp_.rope_base, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      const size_t first = hp_.rope_neox_pairs ? i : 2 * i;
      const size_t second = hp_.rope_neox_pairs ? i + head_dim / 2 : 2 * i + 1;
      for (size_t h = 0; h < static_cast<size_t>(n_heads); ++h) {
        const auto head = x.row(t).subspan(h * head_dim, head_dim);
        const double a = head[first], b = head[second];
        head[first] = a * std::cos(angle) - b * std::sin(angle);
        head[second] = a * std::sin(angle) + b * std::cos(angle);
      }
    }
  }
}

// Causal attention of the new tokens over everything seen; consecutive query heads share a key head (GQA).
Result<Oracle::Matrix> Oracle::attention(const Matrix& q, const Layer& layer, int layer_index,
                                         const Tracer& trace) const {
  const auto n_heads = static_cast<size_t>(hp_.n_heads), head_dim = static_cast<size_t>(hp_.head_dim);
  const size_t kv_width = static_cast<size_t>(hp_.n_kv_heads) * head_dim;
  const size_t n_keys = n_past_ + q.n_tokens;
  Matrix out(q.n_tokens, n_heads * head_dim);
  std::vector<float> scores(trace.recorder != nullptr ? n_heads * q.n_tokens * n_keys : 0);
  for (size_t h = 0; h < n_heads; ++h) {
    const size_t kv_offset = h / (n_heads / static_cast<size_t>(hp_.n_kv_heads)) * head_dim;
    for (size_t t = 0; t < q.n_tokens; ++t) {
      const size_t n_visible = n_past_ + t + 1;
      std::vector<double> p(n_visible);
      for (size_t key = 0; key < n_visible; ++key) {
        for (size_t i = 0; i < head_dim; ++i) {
          p[key] += q.row(t)[h * head_dim + i] * layer.keys[key * kv_width + kv_offset + i];
        }
        p[key] /= std::sqrt(static_cast<double>(head_dim));
      }
      const double largest = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& score : p) {
        score = std::exp(score - largest);
        sum += score;
      }
      for (size_t key = 0; key < n_visible; ++key) {
        p[key] /= sum;
        for (size_t i = 0; i < head_dim; ++i) {
          out.row(t)[h * head_dim + i] += p[key] * layer.values[key * kv_width + kv_offset + i];
        }
        if (!scores.empty()) {
          scores[(h * q.n_tokens + t) * n_keys + key] = static_cast<float>(p[key]);
        }
      }
    }
  }
  if (trace.recorder != nullptr) {
    TERN_RETURN_IF_ERROR(trace.recorder->record(
        {trace.seq, trace.ubatch, layer_index, Stage::kAttnScoresSoftmax},
        {static_cast<int64_t>(n_heads), static_cast<int64_t>(q.n_tokens), static_cast<int64_t>(n_keys)}, scores));
  }
  return out;
}

Result<Oracle::Matrix> Oracle::attention_block(const Matrix& x, Layer& layer, int index, const Tracer& trace) const {
  const Matrix normed = norm(x, layer.attn_norm);
  TERN_RETURN_IF_ERROR(trace(Stage::kAttnNorm, index, normed));
  Matrix q = project(normed, *layer.q);
  TERN_RETURN_IF_ERROR(trace(Stage::kQProj, index, q));
  rope(q, hp_.n_heads);
  TERN_RETURN_IF_ERROR(trace(Stage::kQRope, index, q));
  Matrix k = project(normed, *layer.k);
  TERN_RETURN_IF_ERROR(trace(Stage::kKProj, index, k));
  rope(k, hp_.n_kv_heads);
  TERN_RETURN_IF_ERROR(trace(Stage::kKRope, index, k));
  const Matrix v = project(normed, *layer.v);
  TERN_RETURN_IF_ERROR(trace(Stage::kVProj, index, v));
  layer.keys.insert(layer.keys.end(), k.values.begin(), k.values.end());
  layer.values.insert(layer.values.end(), v.values.begin(), v.values.end());

  TERN_ASSIGN_OR_RETURN(Matrix heads, attention(q, layer, index, trace));
  TERN_RETURN_IF_ERROR(trace(Stage::kAttnOut, index, heads));
  if (hp_.sub_norms) {
    heads = norm(heads, layer.attn_sub_norm);
    TERN_RETURN_IF_ERROR(trace(Stage::kAttnSubNorm, index, heads));
  }
  Matrix out = project(heads, *layer.o);
  TERN_RETURN_IF_ERROR(trace(Stage::kOProj, index, out));
  return out;
}

Oracle::Matrix Oracle::activate(const Matrix& gate, const Matrix& up) const {
  Matrix out(gate.n_tokens, gate.n_features);
  for (size_t i = 0; i < out.values.size(); ++i) {
    const double g = gate.values[i];
    const double relu = std::max(g, 0.0);
    out.values[i] = (hp_.relu_squared ? relu * relu : g / (1.0 + std::exp(-g))) * up.values[i];
  }
  return out;
}

Result<Oracle::Matrix> Oracle::feed_forward_block(const Matrix& x, const Layer& layer, int index,
                                                  const Tracer& trace) const {
  const Matrix normed = norm(x, layer.ffn_norm);
  TERN_RETURN_IF_ERROR(trace(Stage::kFfnNorm, index, normed));
  const Matrix gate = project(normed, *layer.gate);
  TERN_RETURN_IF_ERROR(trace(Stage::kGateProj, index, gate));
  const Matrix up = project(normed, *layer.up);
  TERN_RETURN_IF_ERROR(trace(Stage::kUpProj, index, up));
  Matrix hidden = activate(gate, up);
  TERN_RETURN_IF_ERROR(trace(Stage::kFfnAct, index, hidden));
  if (hp_.sub_norms) {
    hidden = norm(hidden, layer.ffn_sub_norm);
    TERN_RETURN_IF_ERROR(trace(Stage::kFfnSubNorm, index, hidden));
  }
  Matrix out = project(hidden, *layer.down);
  TERN_RETURN_IF_ERROR(trace(Stage::kDownProj, index, out));
  return out;
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
  const Tracer trace{recorder, seq, ubatch};
  const auto add = [](Matrix& sum, const Matrix& term) {
    std::transform(sum.values.begin(), sum.values.end(), term.values.begin(), sum.values.begin(), std::plus<>());
  };
  Matrix x = embed(tokens);
  TERN_RETURN_IF_ERROR(trace(Stage::kEmbeddings, -1, x));
  for (int index = 0; index < hp_.n_layers; ++index) {
    Layer& layer = layers_[static_cast<size_t>(index)];
    TERN_ASSIGN_OR_RETURN(const Matrix attended, attention_block(x, layer, index, trace));
    add(x, attended);
    TERN_RETURN_IF_ERROR(trace(Stage::kFfnInp, index, x));
    TERN_ASSIGN_OR_RETURN(const Matrix fed, feed_forward_block(x, layer, index, trace));
    add(x, fed);
    TERN_RETURN_IF_ERROR(trace(Stage::kOut, index, x));
  }
  x = norm(x, output_norm_);
  TERN_RETURN_IF_ERROR(trace(Stage::kOutputNorm, -1, x));
  Matrix logits = project(x, *head_);
  TERN_RETURN_IF_ERROR(trace(Stage::kLogits, -1, logits));
  n_past_ += tokens.size();
  return std::move(logits.values);
}

}  // namespace tern::oracle
