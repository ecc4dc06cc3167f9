#include "tern/estimate/rope_rule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tern::estimate {

std::vector<double> rope_frequencies(const RopeLayout& layout, double base) {
  std::vector<double> frequencies(layout.width / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(layout.exponent_width));
  }
  return frequencies;
}

RopeRule textbook_rope(const oracle::Hyperparameters& hp) {
  const auto head_dim = static_cast<size_t>(hp.head_dim);
  RopeRule rule;
  rule.layout = {head_dim, 0, head_dim, head_dim, hp.rope_neox_pairs, hp.rope_neox_pairs};
  rule.frequencies = rope_frequencies(rule.layout, hp.rope_base);
  return rule;
}

std::vector<RopeToken> rope_tokens(const StageFacts& facts) {
  std::vector<RopeToken> tokens;
  for (size_t t = 0; t < facts.tokens().size(); ++t) {
    tokens.push_back({facts.first_position() + t, t, facts.id().seq > 0});
  }
  return tokens;
}

std::vector<RopeToken> rope_tokens_of_cache(const StageFacts& facts, size_t n_keys) {
  const auto seq = static_cast<size_t>(facts.id().seq);
  const size_t n_prompt = seq == 0 ? n_keys : facts.first_position() + 1 - std::min(seq, facts.first_position() + 1);
  std::vector<RopeToken> tokens;
  for (size_t position = 0; position < n_keys; ++position) {
    const bool is_decode = position >= n_prompt;
    tokens.push_back({position, is_decode ? 0 : position, is_decode});
  }
  if (seq == 0) {
    for (size_t position = facts.first_position(); position < n_keys; ++position) {
      tokens[position].index_in_pass = position - facts.first_position();
    }
  }
  return tokens;
}

std::optional<Matrix> rotated(const Matrix& x, const RopeRule& rule, const std::vector<RopeToken>& tokens) {
  const RopeLayout& layout = rule.layout;
  if (layout.head == 0 || x.n_features % layout.head != 0 || layout.begin + layout.width > layout.head ||
      tokens.size() != x.n_tokens) {
    return std::nullopt;
  }
  Matrix y = x;
  for (size_t t = 0; t < x.n_tokens; ++t) {
    const double position = rule.position(tokens[t]);
    for (size_t i = 0; i < layout.width / 2; ++i) {
      const double angle = position * rule.frequencies[i];
      const double cosine = std::cos(angle) * rule.magnitude, sine = std::sin(angle) * rule.magnitude;
      const auto [a, b] = layout.pair(i, layout.halves_in);
      const auto [to_a, to_b] = layout.pair(i, layout.halves_out);
      for (size_t head = 0; head < x.n_features; head += layout.head) {
        const auto from = x.row(t).subspan(head, layout.head);
        const auto to = y.row(t).subspan(head, layout.head);
        to[to_a] = from[a] * cosine - from[b] * sine;
        to[to_b] = from[a] * sine + from[b] * cosine;
      }
    }
  }
  return y;
}

std::vector<double> scaled_frequencies(std::vector<double> frequencies, const Llama3Scaling& scaling) {
  for (double& frequency : frequencies) {
    const double turns = scaling.context * frequency / (2 * std::numbers::pi);
    const double kept = std::clamp((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0);
    frequency *= (1 - kept) / scaling.factor + kept;
  }
  return frequencies;
}

YarnScaling yarn_of(double factor, double context, double base, size_t exponent_width) {
  constexpr double kFastTurns = 32, kSlowTurns = 1;
  const auto width = static_cast<double>(exponent_width);
  const auto pair_with = [&](double turns) {
    return width * std::log(context / (turns * 2 * std::numbers::pi)) / (2 * std::log(base));
  };
  return {factor, std::max(0.0, std::floor(pair_with(kFastTurns))),
          std::min(width - 1, std::ceil(pair_with(kSlowTurns)))};
}

std::vector<double> scaled_frequencies(std::vector<double> frequencies, const YarnScaling& scaling) {
  constexpr double kLeastRange = 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double range = std::max(kLeastRange, scaling.last_pair - scaling.first_pair);
    const double slowed = std::clamp((static_cast<double>(i) - scaling.first_pair) / range, 0.0, 1.0);
    frequencies[i] *= slowed / scaling.factor + (1 - slowed);
  }
  return frequencies;
}

}  // namespace tern::estimate
