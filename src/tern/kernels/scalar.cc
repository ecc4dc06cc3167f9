// The scalar truth. Each sum walks the lanes that the specification names (docs/numerics.md), one float at a time.
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tern/kernels/glibc_exp.h"
#include "tern/kernels/isa_tables.h"
#include "tern/kernels/table.h"
#include "tern/quant/half.h"

namespace tern::kernels {
namespace {

constexpr size_t kLanes = 8;

// The two ways in which ggml adds up the 8 lanes of a register.
float sum_neighbours_first(const float* v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }
float sum_halves_first(const float* v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

void half_to_float(const uint16_t* in, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = quant::half_to_float(in[i]);
}

void float_to_half(const float* in, size_t n, uint16_t* out) {
  for (size_t i = 0; i < n; ++i) out[i] = quant::float_to_half(in[i]);
}

void round_to_half(const float* in, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = quant::half_to_float(quant::float_to_half(in[i]));
}

// Adding 1.5 * 2^23 leaves the rounded integer in the low mantissa bits (ggml's nearest_int).
constexpr float kRounder = 12582912.0f;
int32_t integer_in_mantissa(float shifted) {
  return static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) & 0x7fffff) - 0x400000;
}

RowRounding round_activations(const float* x, size_t n, ActivationRounding rounding, int8_t* q) {
  float largest = 0;
  for (size_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(x[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  const double limit = static_cast<double>(largest) > 1e-5 ? static_cast<double>(largest) : 1e-5;
  const float scale = static_cast<float>(127.0 / limit);
  int32_t sum = 0;
  for (size_t i = 0; i < n; ++i) {
    const float shifted =
        rounding == ActivationRounding::kFused ? std::fma(x[i], scale, kRounder) : x[i] * scale + kRounder;
    int32_t value = integer_in_mantissa(shifted);
    value = value < -128 ? -128 : value > 127 ? 127 : value;
    q[i] = static_cast<int8_t>(value);
    sum += value;
  }
  return {scale, sum};
}

void ternary_product(const TernaryProduct& p) {
  for (size_t r = 0; r < p.n_rows; ++r) {
    const uint8_t* row = p.codes + r * (p.n_cols / 4);
    for (size_t t = 0; t < p.n_tokens; ++t) {
      const int8_t* q = p.q + t * p.n_cols;
      int32_t sum = 0;
      for (size_t block = 0; block < p.n_cols / 128; ++block) {
        for (size_t i = 0; i < 32; ++i) {
          const int32_t byte = row[32 * block + i];
          const int8_t* at = q + 128 * block + i;
          sum += (byte >> 6) * at[0] + (byte >> 4 & 3) * at[32] + (byte >> 2 & 3) * at[64] + (byte & 3) * at[96];
        }
      }
      p.out[t * p.out_stride + r] = static_cast<float>(sum - p.rounding[t].sum) / p.rounding[t].scale * p.weight_scale;
    }
  }
}

CoarseRow coarsen_row(const uint16_t* row, size_t n, int8_t* codes) {
  float largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::fmax(largest, std::fabs(quant::half_to_float(row[i])));
  const float limit = largest > 1e-5f ? largest : 1e-5f;
  const float scale = limit / 127.0f;
  const float inverse = 127.0f / limit;
  float errors[kLanes] = {};
  float squares[kLanes] = {};
  for (size_t i = 0; i < n; ++i) {
    const float value = quant::half_to_float(row[i]);
    const int32_t code = integer_in_mantissa(value * inverse + kRounder);
    codes[i] = static_cast<int8_t>(code);
    const float error = std::fma(-scale, static_cast<float>(code), value);
    errors[i % kLanes] = std::fma(error, error, errors[i % kLanes]);
    squares[i % kLanes] = std::fma(value, value, squares[i % kLanes]);
  }
  return {scale, sum_halves_first(errors), sum_halves_first(squares)};
}

void coarse_product(const CoarseProduct& p) {
  for (size_t r = 0; r < p.n_rows; ++r) {
    int32_t sum = 0;
    for (size_t i = 0; i < p.n_cols; ++i) sum += p.codes[r * p.n_cols + i] * p.x[i];
    p.out[r] = sum;
  }
}

float widen(uint16_t half) { return quant::half_to_float(half); }
float widen(float value) { return value; }

template <class A>
float dot_one(const A* a, const float* b, size_t length) {
  float lane[kLanes] = {};
  for (size_t i = 0; i < length; ++i) lane[i % kLanes] = std::fma(widen(a[i]), b[i], lane[i % kLanes]);
  return sum_halves_first(lane);
}

float add_leftovers(float sum, const uint16_t* a, const float* b, size_t n) {
  double total = static_cast<double>(sum);
  for (size_t i = 0; i < n; ++i) total += static_cast<double>(widen(a[i]) * b[i]);
  return static_cast<float>(total);
}
float add_leftovers(float sum, const float* a, const float* b, size_t n) {
  for (size_t i = 0; i < n; ++i) sum = std::fma(a[i], b[i], sum);
  return sum;
}

template <class A>
float dot_four(const A* a, const float* b, size_t length) {
  float lane[4 * kLanes] = {};
  const size_t whole = length - length % 32;
  for (size_t i = 0; i < whole; ++i) lane[i % 32] = std::fma(widen(a[i]), b[i], lane[i % 32]);
  for (size_t i = 0; i < kLanes; ++i) lane[i] = (lane[i] + lane[16 + i]) + (lane[8 + i] + lane[24 + i]);
  return add_leftovers(sum_neighbours_first(lane), a + whole, b + whole, length - whole);
}

template <class A>
void dot_products(DotOrder order, const DotProducts<A>& p) {
  for (size_t j = 0; j < p.n_b; ++j) {
    for (size_t i = 0; i < p.n_a; ++i) {
      const A* a = p.a + i * p.a_stride;
      const float* b = p.b + j * p.b_stride;
      p.out[j * p.out_stride + i] = order == DotOrder::kOne ? dot_one(a, b, p.length) : dot_four(a, b, p.length);
    }
  }
}

void rms_norm(const float* x, const float* weight, size_t n, float eps, float* out) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i] * x[i]);
  const float mean = static_cast<float>(sum / static_cast<double>(n));
  const float scale = 1.0f / std::sqrt(mean + eps);
  for (size_t i = 0; i < n; ++i) out[i] = (x[i] * scale) * weight[i];
}

void rope(RopePairs pairs, const float* cosine, const float* sine, size_t n_pairs, float* head) {
  const bool halves = pairs == RopePairs::kHalves;
  for (size_t i = 0; i < n_pairs; ++i) {
    float* first = head + (halves ? i : 2 * i);
    float* second = head + (halves ? i + n_pairs : 2 * i + 1);
    const float x0 = *first;
    const float x1 = *second;
    *first = std::fma(x0, cosine[i], -(x1 * sine[i]));
    *second = std::fma(x0, sine[i], x1 * cosine[i]);
  }
}

// e^x as ggml's ggml_v_expf computes it in each lane (algorithm of Arm's optimized-routines).
float exp_in_lane(float x) {
  const float r = 0x1.8p23f;
  const float z = std::fma(x, 0x1.715476p+0f, r);
  const float n = z - r;
  const float b = std::fma(-n, 0x1.7f7d1cp-20f, std::fma(-n, 0x1.62e4p-1f, x));
  const uint32_t e = std::bit_cast<uint32_t>(z) << 23;
  const float k = std::bit_cast<float>(e + 0x3f800000u);
  const float u = b * b;
  const float low = std::fma(0x1.0e4020p-7f, b, 0x1.573e2ep-5f);
  const float high = std::fma(0x1.555e66p-3f, b, 0x1.fffdb6p-2f);
  const float j = std::fma(std::fma(low, u, high), u, 0x1.ffffecp-1f * b);
  const float magnitude = std::fabs(n);
  if (!(magnitude > 126.0f)) {
    return std::fma(k, j, k);
  }
  const uint32_t g = n <= 0.0f ? 0x82000000u : 0u;
  const float s1 = std::bit_cast<float>(g + 0x7f000000u);
  const float s2 = std::bit_cast<float>(e - g);
  return magnitude > 192.0f ? s1 * s1 : std::fma(s2, j, s2) * s1;
}

void softmax(float* row, size_t n, float scale) {
  float largest = -INFINITY;
  for (size_t i = 0; i < n; ++i) {
    row[i] = row[i] * scale + 0.0f;
    largest = row[i] > largest ? row[i] : largest;
  }
  const size_t whole = n - n % kLanes;
  double sum = 0;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = i; lane < i + kLanes; ++lane) row[lane] = exp_in_lane(row[lane] - largest);
    sum += static_cast<double>(sum_halves_first(row + i));
  }
  for (size_t i = whole; i < n; ++i) {
    row[i] = glibc_exp(row[i] - largest);
    sum += static_cast<double>(row[i]);
  }
  const float inverse = static_cast<float>(1.0 / sum);
  for (size_t i = 0; i < n; ++i) row[i] = row[i] * inverse;
}

void relu2_times(const float* gate, const float* up, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) {
    const float positive = gate[i] > 0.0f ? gate[i] : 0.0f;
    out[i] = (positive * positive) * up[i];
  }
}

void silu_times(const float* gate, const float* up, size_t n, float* out) {
  const size_t whole = n - n % kLanes;
  for (size_t i = 0; i < n; ++i) {
    const float e = i < whole ? exp_in_lane(0.0f - gate[i]) : glibc_exp(-gate[i]);
    out[i] = (gate[i] / (1.0f + e)) * up[i];
  }
}

}  // namespace

const KernelTable kScalarTable = {
    .name = "scalar",
    .half_to_float = half_to_float,
    .float_to_half = float_to_half,
    .round_to_half = round_to_half,
    .round_activations = round_activations,
    .ternary_product = ternary_product,
    .ternary_piece = {64, 512},
    .dot_f16 = dot_products<uint16_t>,
    .dot_f32 = dot_products<float>,
    .coarsen_row = coarsen_row,
    .coarse_product = coarse_product,
    .rms_norm = rms_norm,
    .rope = rope,
    .softmax = softmax,
    .relu2_times = relu2_times,
    .silu_times = silu_times,
};

}  // namespace tern::kernels
