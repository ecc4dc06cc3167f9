#include "tern/oracle/workbench.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "tern/base/check.h"

namespace tern::oracle {

using trace::Stage;

Status Workbench::finish_stage(const Pass& pass, Stage stage, int layer, Matrix& matrix) const {
  const bool here = layer < 0 || faulty_layers_.empty() ||
                    std::find(faulty_layers_.begin(), faulty_layers_.end(), layer) != faulty_layers_.end();
  if (here && std::find(stages_.begin(), stages_.end(), stage) != stages_.end()) {
    change_(*this, {stage, layer, pass.seq}, matrix);
  }
  TERN_RETURN_IF_ERROR(Float32::finish_stage(pass, stage, layer, matrix));
  seen_.insert_or_assign(stage, matrix);
  return {};
}

const Workbench::Matrix& Workbench::input(const Place& place) const {
  const std::optional<Stage> before = trace::input_of(place.stage, hp_.sub_norms);
  return before ? of(*before) : layer_input(place.layer);
}

const gguf::Tensor& Workbench::weight(Stage stage, int layer) const {
  if (stage == Stage::kLogits) {
    return *head_;
  }
  const Layer& at = layers_.at(static_cast<size_t>(layer));
  const std::pair<Stage, const gguf::Tensor*> matrices[] = {
      {Stage::kQProj, at.q},       {Stage::kKProj, at.k},   {Stage::kVProj, at.v},      {Stage::kOProj, at.o},
      {Stage::kGateProj, at.gate}, {Stage::kUpProj, at.up}, {Stage::kDownProj, at.down}};
  const auto* const found =
      std::find_if(std::begin(matrices), std::end(matrices), [&](const auto& m) { return m.first == stage; });
  TERN_CHECK(found != std::end(matrices));
  return *found->second;
}

const std::vector<double>& Workbench::norm_weight(Stage stage, int layer) const {
  if (stage == Stage::kOutputNorm) {
    return output_norm_;
  }
  const Layer& at = layers_.at(static_cast<size_t>(layer));
  return stage == Stage::kAttnNorm      ? at.attn_norm
         : stage == Stage::kAttnSubNorm ? at.attn_sub_norm
         : stage == Stage::kFfnNorm     ? at.ffn_norm
                                        : at.ffn_sub_norm;
}

Workbench::Matrix Workbench::normed(const Matrix& x, std::span<const double> weight, double epsilon) const {
  Matrix y(x.n_tokens, x.n_features);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    const double mean = Oracle::sum_of_squares(x.row(t)) / static_cast<double>(x.n_features);
    for (size_t i = 0; i < x.n_features; ++i) {
      y.row(t)[i] = x.row(t)[i] / std::sqrt(mean + epsilon) * weight[i];
    }
  }
  return y;
}

Workbench::Matrix Workbench::product(const Matrix& x, const gguf::Tensor& format_of, const Rows& rows) const {
  Matrix input = x;
  const std::vector<double> units = prepare_input(input, format_of);
  return product_of_rounded(input, units, format_of, rows);
}

Workbench::Matrix Workbench::product_of_rounded(const Matrix& x, std::span<const double> units,
                                                const gguf::Tensor& matrix, const Rows& rows) const {
  return Oracle::product(x, units, matrix, matrix.n_rows(), rows, 1);
}

Workbench::RopeRule Workbench::rope_rule() const {
  const auto head_dim = static_cast<double>(hp_.head_dim);
  return {.angle = [base = hp_.rope_base, head_dim](
                       double position,
                       size_t pair) { return position * std::pow(base, -2.0 * static_cast<double>(pair) / head_dim); },
          .neox_pairs = hp_.rope_neox_pairs,
          .n_pairs = static_cast<size_t>(hp_.head_dim / 2)};
}

Workbench::Matrix Workbench::turned_by(const Matrix& x, const RopeRule& rule) const {
  Matrix y = x;
  const auto head_dim = static_cast<size_t>(hp_.head_dim);
  for (size_t t = 0; t < x.n_tokens; ++t) {
    for (size_t head = 0; head < x.n_features; head += head_dim) {
      for (size_t i = 0; i < rule.n_pairs; ++i) {
        double& a = y.row(t)[head + (rule.neox_pairs ? i : 2 * i)];
        double& b = y.row(t)[head + (rule.neox_pairs ? i + head_dim / 2 : 2 * i + 1)];
        std::tie(a, b) = turned(a * rule.length, b * rule.length, rule.angle(static_cast<double>(n_past_ + t), i));
      }
    }
  }
  return y;
}

Workbench::AttentionRule Workbench::attention_rule() const {
  const auto group = static_cast<size_t>(hp_.n_heads / hp_.n_kv_heads);
  return {.divisor = std::sqrt(static_cast<double>(hp_.head_dim)),
          .shaped = [](double score) { return score; },
          .sees = [](size_t position, size_t key) { return key <= position; },
          .kv_head = [group](size_t head) { return head / group; },
          .cache_slot = [](size_t, size_t key) { return key; }};
}

Workbench::Matrix Workbench::scores_by(int layer, const AttentionRule& rule) const {
  const Matrix& q = of(Stage::kQRope);
  const std::vector<double>& keys = layers_.at(static_cast<size_t>(layer)).keys;
  const auto n_heads = static_cast<size_t>(hp_.n_heads), head_dim = static_cast<size_t>(hp_.head_dim);
  const size_t kv_width = static_cast<size_t>(hp_.n_kv_heads) * head_dim;
  Matrix scores(n_heads * q.n_tokens, keys.size() / kv_width);
  for (size_t h = 0; h < n_heads; ++h) {
    for (size_t t = 0; t < q.n_tokens; ++t) {
      const size_t position = n_past_ + t;
      const auto row = scores.row(h * q.n_tokens + t);
      for (size_t key = 0; key < row.size(); ++key) {
        for (size_t i = 0; i < head_dim; ++i) {
          row[key] += attention_operand(q.row(t)[h * head_dim + i]) *
                      keys[rule.cache_slot(position, key) * kv_width + rule.kv_head(h) * head_dim + i];
        }
        row[key] = rule.sees(position, key) ? rule.shaped(row[key] / rule.divisor) : -HUGE_VAL;
      }
      const double largest = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (double& score : row) {
        score = std::exp(score - largest);
        sum += score;
      }
      for (double& score : row) {
        score /= sum;
      }
    }
  }
  return scores;
}

Workbench::Matrix Workbench::mixed_by(int layer, const AttentionRule& rule) const {
  const Matrix& scores = of(Stage::kAttnScoresSoftmax);
  const std::vector<double>& values = layers_.at(static_cast<size_t>(layer)).values;
  const auto n_heads = static_cast<size_t>(hp_.n_heads), head_dim = static_cast<size_t>(hp_.head_dim);
  const size_t kv_width = static_cast<size_t>(hp_.n_kv_heads) * head_dim;
  const size_t n_tokens = scores.n_tokens / n_heads;
  Matrix out(n_tokens, n_heads * head_dim);
  for (size_t h = 0; h < n_heads; ++h) {
    for (size_t t = 0; t < n_tokens; ++t) {
      for (size_t key = 0; key < scores.n_features; ++key) {
        const size_t from = rule.cache_slot(n_past_ + t, key) * kv_width + rule.kv_head(h) * head_dim;
        for (size_t i = 0; i < head_dim; ++i) {
          out.row(t)[h * head_dim + i] += attention_operand(scores.row(h * n_tokens + t)[key]) * values[from + i];
        }
      }
    }
  }
  return out;
}

}  // namespace tern::oracle
