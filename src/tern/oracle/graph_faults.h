// Faults in what is computed: one operation of the graph is another one.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "tern/oracle/faults.h"
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

// What models in use have; the first two are the most common.
inline constexpr double kRopeBases[] = {10000, 500000, 1000000, 50000, 100000, 5000000, 10000000};
inline constexpr double kRopeFactors[] = {4, 2, 8, 16, 32};  // of linear scaling; 1, none, is each model's own
inline constexpr double kNormEpsilons[] = {1e-6, 1e-5, 1e-8};

// The first that is not the model's own.
inline double another(std::span<const double> values, double own) {
  return *std::find_if(values.begin(), values.end(), [own](double value) {
    return static_cast<float>(value) != static_cast<float>(own);  // files hold float32
  });
}

class RopeBase final : public Faulty {
 public:
  RopeBase(const Oracle& plain, const FaultSetting& setting) : Faulty(plain) {
    hp_.rope_base = setting.value.value_or(another(kRopeBases, hp_.rope_base));
  }
};

class RopePosition final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t rope_position(size_t t) const override { return Oracle::rope_position(t) + 1; }
};

// A counter that is moved on too late, or a length that leaves out the first token.
class RopePositionBehind final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t rope_position(size_t t) const override { return Oracle::rope_position(t) - (n_past_ > 0 ? 1 : 0); }
};

// Linear scaling, for a longer context, of a model that was not trained with it.
class RopeScaling final : public Faulty {
 public:
  RopeScaling(const Oracle& plain, const FaultSetting& setting)
      : Faulty(plain), factor_(setting.value.value_or(another(kRopeFactors, 1))) {}
  double rope_angle(size_t position, size_t i) const override { return Oracle::rope_angle(position, i) / factor_; }

 private:
  double factor_;
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
  NormEpsilon(const Oracle& plain, const FaultSetting& setting) : Faulty(plain) {
    hp_.norm_epsilon = setting.value.value_or(another(kNormEpsilons, hp_.norm_epsilon));
  }
};

// BitNet's norms before the output and down projections are left out, as in the graph of another architecture.
class NormMissing final : public Faulty {
 public:
  explicit NormMissing(const Oracle& plain) : Faulty(plain) { hp_.sub_norms = false; }
};

}  // namespace tern::oracle
