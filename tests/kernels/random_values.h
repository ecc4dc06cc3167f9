// The tables that kernel tests compare, and seeded values: ordinary ones, and the floats that break careless code.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "tern/kernels/dispatch.h"
#include "tern/kernels/table.h"

namespace tern::kernels {

inline const KernelTable& scalar() { return *runnable_tables().front(); }

// The tables that are held against it.
inline std::vector<const KernelTable*> others() {
  auto tables = runnable_tables();
  tables.erase(tables.begin());
  return tables;
}

inline std::vector<float> random_floats(std::mt19937& random, size_t n, float spread = 1.0f) {
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

// Every few elements something hostile: zeros of both signs, denormals, huge and infinite values, NaN.
inline std::vector<float> hostile_floats(std::mt19937& random, size_t n) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float hostile[] = {0.0f,   -0.0f, 1e-45f, -1e-39f,   3e38f,
                           -3e38f, 1e-5f, 0.5f,   kInfinity, std::numeric_limits<float>::quiet_NaN()};
  std::vector<float> values = random_floats(random, n);
  for (size_t i = random() % 3; i < n; i += 1 + random() % 7) values[i] = hostile[random() % std::size(hostile)];
  return values;
}

// Equal bits; one NaN is as good as another, since instruction sets choose different payloads.
inline bool same_bits(float a, float b) {
  return (a != a && b != b) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

// The first index at which the two differ, or -1.
inline int64_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) {
    return 0;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (!same_bits(a[i], b[i])) {
      return static_cast<int64_t>(i);
    }
  }
  return -1;
}

}  // namespace tern::kernels
