// The kernels one by one, on one thread, for every table that this machine runs: KERNEL/TABLE/SIZE. Rates are
// multiply_adds (of products) and bytes (read and written once each), a second. For a part of it:
//   kernels_bench --benchmark_filter='ternary_product/avx2'
// Sizes are those of BitNet b1.58 2B4T, and for ternary_product those that bitnet.cpp publishes (comparison.h), too.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "comparison.h"
#include "tern/base/aligned_vector.h"
#include "tern/kernels/dispatch.h"
#include "tern/quant/half.h"

namespace tern::bench {
namespace {

using benchmark::State;
using kernels::DotOrder;
using kernels::KernelTable;

constexpr size_t kHidden = 2560;
constexpr size_t kFeedForward = 6912;
constexpr size_t kVocab = 128256;
constexpr size_t kHeadDim = 128;
constexpr size_t kScalarLimit = size_t{1} << 28;  // multiply-adds, more than which scalar code is not asked to do

using Rate = benchmark::Counter;

void set_rates(State& state, size_t n_multiply_adds, size_t n_bytes) {
  if (n_multiply_adds > 0) {
    state.counters["multiply_adds"] = Rate(static_cast<double>(n_multiply_adds), Rate::kIsIterationInvariantRate);
  }
  state.counters["bytes"] = Rate(static_cast<double>(n_bytes), Rate::kIsIterationInvariantRate);
}

AlignedVector<float> random_floats(size_t n) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  AlignedVector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

// A short random piece over and over: as good for timing, and quick for a whole head.
std::vector<uint16_t> random_halves(size_t n) {
  const AlignedVector<float> piece = random_floats(4093);
  std::vector<uint16_t> halves(piece.size());
  for (size_t i = 0; i < piece.size(); ++i) halves[i] = quant::float_to_half(piece[i]);
  std::vector<uint16_t> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = halves[i % halves.size()];
  return values;
}

template <class Integer>
AlignedVector<Integer> random_integers(size_t n, int low, int high) {
  std::mt19937 random(2);
  std::uniform_int_distribution<int> uniform(low, high);
  AlignedVector<Integer> values(n);
  for (Integer& value : values) value = static_cast<Integer>(uniform(random));
  return values;
}

// Four codes of 0, 1, 2 in each byte.
std::vector<uint8_t> random_codes(size_t n_weights) {
  std::vector<uint8_t> bytes(n_weights / 4);
  std::mt19937 random(3);
  for (uint8_t& byte : bytes) {
    for (int i = 0; i < 4; ++i) byte = static_cast<uint8_t>(byte << 2 | static_cast<int>(random() % 3));
  }
  return bytes;
}

struct TernaryOperands {
  std::vector<uint8_t> codes;
  AlignedVector<int8_t> q;
  std::vector<kernels::RowRounding> rounding;
  std::vector<float> out;
};

TernaryOperands ternary_operands(const ProductSize& size) {
  const auto tokens = static_cast<size_t>(size.tokens), cols = static_cast<size_t>(size.cols);
  const auto rows = static_cast<size_t>(size.rows);
  TernaryOperands operands{random_codes(rows * cols),
                           random_integers<int8_t>(tokens * cols, -127, 127),
                           {},
                           std::vector<float>(tokens * rows)};
  for (size_t t = 0; t < tokens; ++t) {
    int32_t sum = 0;
    for (size_t i = 0; i < cols; ++i) sum += operands.q[t * cols + i];
    operands.rounding.push_back({31.0f, sum});
  }
  return operands;
}

// The whole of the interface that this file knows of ternary_product: what model::Multiplier does with one matrix.
void multiply(const KernelTable& table, const ProductSize& size, TernaryOperands& operands) {
  const auto rows = static_cast<size_t>(size.rows);
  table.ternary_product({operands.codes.data(), 0.25f, rows, static_cast<size_t>(size.cols), operands.q.data(),
                         operands.rounding.data(), static_cast<size_t>(size.tokens), operands.out.data(), rows});
}

void ternary_product(State& state, const KernelTable* table, ProductSize size) {
  TernaryOperands operands = ternary_operands(size);
  for (auto _ : state) {
    multiply(*table, size, operands);
    benchmark::ClobberMemory();
  }
  set_rates(state, operands.codes.size() * 4 * static_cast<size_t>(size.tokens),
            operands.codes.size() + operands.q.size() + operands.out.size() * sizeof(float));
}

struct DotShape {
  DotOrder order;
  size_t n_a;
  size_t n_b;
  size_t length;
  size_t a_stride;
};

void dot_f16(State& state, const KernelTable* table, DotShape shape) {
  const std::vector<uint16_t> a = random_halves(shape.n_a * shape.a_stride);
  AlignedVector<float> b = random_floats(shape.n_b * shape.length);
  table->round_to_half(b.data(), b.size(), b.data());
  std::vector<float> out(shape.n_a * shape.n_b);
  for (auto _ : state) {
    table->dot_f16(shape.order, {a.data(), shape.a_stride, shape.n_a, b.data(), shape.length, shape.n_b, shape.length,
                                 out.data(), shape.n_a});
    benchmark::ClobberMemory();
  }
  set_rates(state, shape.n_a * shape.n_b * shape.length,
            shape.n_a * shape.length * sizeof(uint16_t) + (b.size() + out.size()) * sizeof(float));
}

void coarse_product(State& state, const KernelTable* table, size_t n_rows, size_t n_cols) {
  const auto codes = random_integers<int8_t>(n_rows * n_cols, -127, 127);
  const auto x = random_integers<int16_t>(n_cols, -4000, 4000);
  std::vector<int32_t> out(n_rows);
  for (auto _ : state) {
    table->coarse_product({codes.data(), n_rows, n_cols, x.data(), out.data()});
    benchmark::ClobberMemory();
  }
  set_rates(state, codes.size(), codes.size() + x.size() * sizeof(int16_t) + out.size() * sizeof(int32_t));
}

void round_activations(State& state, const KernelTable* table, size_t n) {
  const AlignedVector<float> x = random_floats(n);
  std::vector<int8_t> q(n);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        table->round_activations(x.data(), n, kernels::ActivationRounding::kProductFirst, q.data()));
    benchmark::ClobberMemory();
  }
  set_rates(state, 0, n * (sizeof(float) + 1));
}

void rms_norm(State& state, const KernelTable* table, size_t n) {
  const AlignedVector<float> x = random_floats(n);
  std::vector<float> out(n);
  for (auto _ : state) {
    table->rms_norm(x.data(), x.data(), n, 1e-5f, out.data());
    benchmark::ClobberMemory();
  }
  set_rates(state, 0, n * 3 * sizeof(float));
}

void softmax(State& state, const KernelTable* table, size_t n) {
  const AlignedVector<float> scores = random_floats(n);
  std::vector<float> row(n);
  for (auto _ : state) {
    std::copy(scores.begin(), scores.end(), row.begin());  // in place: the second time would be of other values
    table->softmax(row.data(), n, 0.088f);
    benchmark::ClobberMemory();
  }
  set_rates(state, 0, n * 2 * sizeof(float));
}

template <class Function, class... Arguments>
void add(const std::string& kernel, const KernelTable* table, const std::string& size, Function* function,
         Arguments... arguments) {
  benchmark::RegisterBenchmark((kernel + "/" + table->name + "/" + size).c_str(), function, table, arguments...)
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
}

std::vector<ProductSize> ternary_sizes() {
  std::vector<ProductSize> sizes = published_sizes();
  for (const int tokens : {1, 128}) {  // of the model: q and o, gate and up, down
    sizes.push_back({tokens, 2560, 2560, 0});
    sizes.push_back({tokens, 2560, 6912, 0});
    sizes.push_back({tokens, 6912, 2560, 0});
  }
  return sizes;
}

void add_kernels_of(const KernelTable* table) {
  const bool slow = table == kernels::runnable_tables().front();
  for (const ProductSize& size : ternary_sizes()) {
    const size_t work =
        static_cast<size_t>(size.rows) * static_cast<size_t>(size.cols) * static_cast<size_t>(size.tokens);
    if (slow && work > kScalarLimit) continue;
    const std::string text =
        std::to_string(size.rows) + "x" + std::to_string(size.cols) + "x" + std::to_string(size.tokens);
    add("ternary_product", table, text, ternary_product, size);
  }
  const size_t n_head_rows = slow ? kVocab / 64 : kVocab;
  const std::string head = std::to_string(n_head_rows) + "x" + std::to_string(kHidden);
  add("dot_f16_head", table, head + "x1", dot_f16, DotShape{DotOrder::kFour, n_head_rows, 1, kHidden, kHidden});
  add("coarse_product_head", table, head, coarse_product, n_head_rows, kHidden);
  // One head's scores and sums over a context of 2048: a decode step's four queries of a KV head, a prefill's tile.
  constexpr size_t kContext = 2048, kKeyStride = 5 * kHeadDim;
  for (const size_t n_queries : {size_t{4}, size_t{32}}) {
    const std::string queries = "x" + std::to_string(n_queries);
    add("attention_scores", table, "2048x128" + queries, dot_f16,
        DotShape{DotOrder::kFour, kContext, n_queries, kHeadDim, kKeyStride});
    add("attention_values", table, "128x2048" + queries, dot_f16,
        DotShape{n_queries == 4 ? DotOrder::kFour : DotOrder::kOne, kHeadDim, n_queries, kContext, kContext});
  }
  for (const size_t n : {kHidden, kFeedForward}) {
    add("round_activations", table, std::to_string(n), round_activations, n);
    add("rms_norm", table, std::to_string(n), rms_norm, n);
  }
  for (const size_t n : {size_t{128}, kContext}) add("softmax", table, std::to_string(n), softmax, n);
}

}  // namespace
}  // namespace tern::bench

int main(int argc, char** argv) {
  for (const tern::kernels::KernelTable* table : tern::kernels::runnable_tables()) tern::bench::add_kernels_of(table);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
