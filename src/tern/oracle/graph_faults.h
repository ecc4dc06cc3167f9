// Faults in what is computed: one operation of the graph is another one.
#pragma once

#include <algorithm>
#include <cmath>

#include "tern/oracle/faulty.h"

namespace tern::oracle {

// A model computed with the graph of a sibling architecture, which has the same tensors and another activation.
class ActivationFunction final : public Faulty {
 public:
  explicit ActivationFunction(const Oracle& plain) : Faulty(plain) { hp_.relu_squared = !hp_.relu_squared; }
};

class ActivationGelu final : public Faulty {
 public:
  using Faulty::Faulty;
  double activation(double gate) const override { return 0.5 * gate * (1.0 + std::erf(gate / std::sqrt(2.0))); }
};

class ActivationRelu final : public Faulty {
 public:
  using Faulty::Faulty;
  double activation(double gate) const override { return std::max(gate, 0.0); }
};

// One scale for all tokens of a batch, where each has its own.
class ActivationRounding final : public Faulty {
 public:
  using Faulty::Faulty;
  std::vector<double> round_to_int8(Matrix& x) const override {
    double largest = 1e-5;
    for (const double value : x.values) {
      largest = std::max(largest, std::abs(value));
    }
    for (double& value : x.values) {
      value = std::clamp(std::nearbyint(value * (127.0 / largest)), -128.0, 127.0);
    }
    return std::vector<double>(x.n_tokens, largest / 127.0);
  }
};

class ActivationNotRounded final : public Faulty {
 public:
  using Faulty::Faulty;
  std::vector<double> round_to_int8(Matrix& x) const override { return std::vector<double>(x.n_tokens, 1.0); }
};

class RopePairing final : public Faulty {
 public:
  explicit RopePairing(const Oracle& plain) : Faulty(plain) { hp_.rope_neox_pairs = !hp_.rope_neox_pairs; }
};

// The base that most models have, or for those the next common one.
class RopeBase final : public Faulty {
 public:
  explicit RopeBase(const Oracle& plain) : Faulty(plain) { hp_.rope_base = hp_.rope_base == 10000 ? 500000 : 10000; }
};

class RopePosition final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t rope_position(size_t t) const override { return Oracle::rope_position(t) + 1; }
};

// Linear scaling, for a context four times as long, of a model that was not trained with it.
class RopeScaling final : public Faulty {
 public:
  using Faulty::Faulty;
  double rope_angle(size_t position, size_t i) const override { return Oracle::rope_angle(position, i) / 4; }
};

class AttentionScale final : public Faulty {
 public:
  using Faulty::Faulty;
  double score_divisor() const override { return static_cast<double>(hp_.head_dim); }
};

class AttentionNotScaled final : public Faulty {
 public:
  using Faulty::Faulty;
  double score_divisor() const override { return 1.0; }
};

class CausalMask final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t n_visible_keys(size_t position, size_t n_keys) const override { return std::min(position + 2, n_keys); }
};

class CausalMaskShort final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t n_visible_keys(size_t position, size_t) const override { return std::max<size_t>(position, 1); }
};

// Heads that share keys taken for every n-th one, instead of neighbours.
class GqaHeadMap final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t kv_head_of(size_t head) const override { return head % static_cast<size_t>(hp_.n_kv_heads); }
};

// A decode step reads the cache before its own key and value are in it.
class KvCache final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t n_visible_keys(size_t position, size_t n_keys) const override {
    const bool decode_step = position + 1 == n_keys && n_past_ == position && position > 0;
    return Oracle::n_visible_keys(position, n_keys) - (decode_step ? 1 : 0);
  }
};

// A decode step finds the key and value of the token before it where its own should be.
class KvCacheStale final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t cache_slot(size_t position, size_t key) const override {
    const bool own_of_a_decode_step = key == position && n_past_ == position && position > 0;
    return key - (own_of_a_decode_step ? 1 : 0);
  }
};

class NormDoubled final : public Faulty {
 public:
  using Faulty::Faulty;
  Matrix norm(const Matrix& x, std::span<const double> weight) const override {
    return Oracle::norm(Oracle::norm(x, weight), weight);
  }
};

class NormEpsilon final : public Faulty {
 public:
  explicit NormEpsilon(const Oracle& plain) : Faulty(plain) {
    hp_.norm_epsilon = hp_.norm_epsilon > 5e-6 ? 1e-6 : 1e-5;
  }
};

// BitNet's norms before the output and down projections are left out, as in the graph of another architecture.
class NormMissing final : public Faulty {
 public:
  explicit NormMissing(const Oracle& plain) : Faulty(plain) { hp_.sub_norms = false; }
};

}  // namespace tern::oracle
