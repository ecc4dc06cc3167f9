// The choice of the next token from its logits.
#pragma once

#include <cstdint>
#include <span>

#include "tern/base/error.h"

namespace tern::engine {

struct Sampling {
  double temperature = 0;  // 0: greedy
  uint64_t seed = 42;
};

// Greedy, model::argmax(), at temperature 0. Otherwise id i with probability proportional to exp(logit_i /
// temperature), computed in double: one random number in [0, 1) from splitmix64 per token, against the cumulative sum
// in id order. The same seed and logits give the same ids.
class Sampler {
 public:
  explicit Sampler(const Sampling& sampling) : temperature_(sampling.temperature), state_(sampling.seed) {}

  // Errors: kInvalidInput where there is nothing to draw from: NaN, or no finite logit.
  Result<int32_t> next(std::span<const float> logits);

 private:
  double uniform();

  double temperature_;
  uint64_t state_;
};

}  // namespace tern::engine
