#include "tern/engine/sampler.h"

#include <cmath>

#include "tern/model/greedy_head.h"

namespace tern::engine {

// splitmix64 (Steele, Lea, Flood 2014; Vigna's public-domain version), its top 53 bits.
double Sampler::uniform() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

Result<int32_t> Sampler::next(std::span<const float> logits) {
  const int32_t greedy = model::argmax(logits);
  if (temperature_ == 0) {
    return greedy;
  }
  const double largest = static_cast<double>(logits[static_cast<size_t>(greedy)]);
  const auto weight = [&](float logit) { return std::exp((static_cast<double>(logit) - largest) / temperature_); };
  double total = 0;
  for (const float logit : logits) total += weight(logit);
  if (!std::isfinite(total) || !(total > 0)) {
    return invalid_input("logits", "cannot be sampled from: they hold NaN or infinity");
  }
  const double target = uniform() * total;
  double cumulative = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    cumulative += weight(logits[i]);
    if (cumulative > target) {
      return static_cast<int32_t>(i);
    }
  }
  return greedy;  // not reached: the same sum in the same order ends at `total`, and target < total
}

}  // namespace tern::engine
