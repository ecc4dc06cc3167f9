// RoPE with everything that can be wrong about it as a number: which features are paired, how fast each pair turns,
// where a token stands.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tern/base/json.h"
#include "tern/estimate/stage_facts.h"

namespace tern::estimate {

struct RopeLayout {
  size_t head = 0;            // features that are rotated alike, one group after the other
  size_t begin = 0;           // the rotated ones of them: from here on,
  size_t width = 0;           // so many; even
  size_t exponent_width = 0;  // pair i turns by base^(-2i / exponent_width)
  bool halves_in = false;     // pairs (i, i + width/2) instead of (2i, 2i + 1)
  bool halves_out = false;    // where the turned pair is put
  bool operator==(const RopeLayout&) const = default;

  // The features of a pair, inside their group.
  std::pair<size_t, size_t> pair(size_t i, bool halves) const {
    return halves ? std::pair(begin + i, begin + i + width / 2) : std::pair(begin + 2 * i, begin + 2 * i + 1);
  }
};

// A token as RoPE meets it.
struct RopeToken {
  size_t position = 0;       // where it stands in the text
  size_t index_in_pass = 0;  // of the pieces of a prompt: in its piece
  bool is_decode = false;    // of a decode step
};

struct RopeRule {
  RopeLayout layout;
  std::vector<double> frequencies;  // of each pair, radians per position: layout.width / 2
  double magnitude = 1;             // the turned pairs are this much longer
  std::function<double(const RopeToken&)> position = [](const RopeToken& token) {
    return static_cast<double>(token.position);
  };
};

// base^(-2i / exponent_width)
std::vector<double> rope_frequencies(const RopeLayout& layout, double base);

// What the model file and its architecture say.
RopeRule textbook_rope(const oracle::Hyperparameters& hp);

// The tokens of this pass; and those of all passes up to this one, as a cache holds them.
std::vector<RopeToken> rope_tokens(const StageFacts& facts);
std::vector<RopeToken> rope_tokens_of_cache(const StageFacts& facts, size_t n_keys);

// [n_tokens, heads * head_dim] -> the same. nullopt where the layout does not fit the width.
std::optional<Matrix> rotated(const Matrix& x, const RopeRule& rule, const std::vector<RopeToken>& tokens);

// Frequencies of models whose context was lengthened. llama-3: pairs with more than `high` turns in the context stay,
// those with less than `low` are slowed down by `factor`, those between are interpolated over the turns.
struct Llama3Scaling {
  double factor = 8, low = 1, high = 4, context = 8192;
};
std::vector<double> scaled_frequencies(std::vector<double> frequencies, const Llama3Scaling& scaling);
// YaRN: the same, interpolated over the number of the pair; begins and ends at whole pairs.
struct YarnScaling {
  double factor = 4, first_pair = 0, last_pair = 0;
};
YarnScaling yarn_of(double factor, double context, double base, size_t exponent_width);
std::vector<double> scaled_frequencies(std::vector<double> frequencies, const YarnScaling& scaling);

// A rule that is not the textbook's, and what is wrong about it.
struct RopeFault {
  std::string id;
  Json parameters;
  std::string says;
  RopeRule rule;
};
RopeFault rope_base_fault(const oracle::Hyperparameters& hp, double base);
RopeFault rope_factor_fault(const oracle::Hyperparameters& hp, double factor);  // of linear scaling
// Only the first `n_turned` pairs of a head are turned, each by its right angle.
RopeFault rope_pairs_fault(const oracle::Hyperparameters& hp, size_t n_turned);
// Only the first `width` features of a head are turned, pair i by base^(-2i / exponent_width).
RopeFault rope_width_fault(const oracle::Hyperparameters& hp, size_t width, size_t exponent_width);
RopeFault rope_decode_offset_fault(const oracle::Hyperparameters& hp, int offset);
// The rules without a number of their own, or with one that models use: the candidates where no angles are recorded.
std::vector<RopeFault> usual_rope_faults(const oracle::Hyperparameters& hp);
// States how a rule's layout differs from the textbook's. Returns the id, "rope_pairing" or "rope_partial"; empty where
// the layouts are equal. The parameters are added to `parameters`.
std::string describe_layout(const RopeLayout& layout, const RopeLayout& textbook, Json& parameters, std::string& says);

}  // namespace tern::estimate
