#include "tern/oracle/faults.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <type_traits>

#include "tern/base/check.h"
#include "tern/quant/i2s.h"

namespace tern::oracle {
namespace {

using trace::Stage;

// What all of them start from: an oracle that is right.
class Faulty : public Oracle {
 public:
  explicit Faulty(const Oracle& plain) : Oracle(plain) {}

 protected:
  bool is_bitnet_cpp_i2s(const gguf::Tensor& weight) const {
    return weight.encoding == quant::Encoding::kI2S && view_->i2s_layout() == quant::I2sLayout::kBitnetCpp;
  }
  // The layer that a fault in a single layer is in.
  int middle_layer() const { return hp_.n_layers / 2; }
};

// A model computed with the graph of a sibling architecture, which has the same tensors and another activation.
class ActivationFunction final : public Faulty {
 public:
  explicit ActivationFunction(const Oracle& plain) : Faulty(plain) { hp_.relu_squared = !hp_.relu_squared; }
};

// On ARM, bitnet.cpp's blocks are of 64 weights, and it reads files that were packed on x86, in blocks of 128, so too.
class I2sBlockSize final : public Faulty {
 public:
  using Faulty::Faulty;
  WeightRow weight_row(const gguf::Tensor& weight, uint64_t row) const override {
    WeightRow out = Oracle::weight_row(weight, row);
    if (!is_bitnet_cpp_i2s(weight)) {
      return out;
    }
    const auto bytes = weight.data.subspan(row * (weight.n_cols() / 4), weight.n_cols() / 4);
    for (uint64_t c = 0; c < weight.n_cols(); ++c) {
      const auto byte = std::to_integer<unsigned>(bytes[c / 64 * 16 + c % 16]);
      out.weights[c] = static_cast<double>(byte >> (6 - 2 * (c % 64 / 16)) & 3) - 1.0;
    }
    return out;
  }
};

// A matrix-matrix kernel computes four tokens at a time, and scales them all back with the first one's activation
// scale. The matrix-vector kernel of the decode steps has but one token and is right.
class PrefillOnly final : public Faulty {
 public:
  using Faulty::Faulty;
  std::vector<double> round_to_int8(Matrix& x) const override {
    std::vector<double> units = Oracle::round_to_int8(x);
    for (size_t t = 0; t < units.size(); ++t) {
      units[t] = units[t - t % 4];
    }
    return units;
  }
};

// The sums of bitnet.cpp's AVX2 kernel, whose 16-bit lanes wrap where rows are long and all of one sign. Its lanes add
// up codes (0, 1, 2) times activations over up to 4096 columns, two of every 32 columns to a lane; the sum of the
// activations is taken off at the end (docs/numerics.md).
class Int16Wrap final : public Faulty {
 public:
  using Faulty::Faulty;
  double dot(const gguf::Tensor& weight, std::span<const double> row, std::span<const double> input) const override {
    if (!is_bitnet_cpp_i2s(weight) ||
        !std::all_of(input.begin(), input.end(), [](double q) { return !std::isnan(q); })) {
      return Oracle::dot(weight, row, input);
    }
    constexpr size_t kGroup = 4096;
    int64_t sum = 0;
    for (size_t begin = 0; begin < row.size(); begin += kGroup) {
      std::array<uint16_t, 16> lanes{};
      for (size_t c = begin; c < std::min(begin + kGroup, row.size()); ++c) {
        const auto q = static_cast<int64_t>(input[c]);
        uint16_t& lane = lanes[c % 32 / 2];
        lane = static_cast<uint16_t>(lane + (static_cast<int64_t>(row[c]) + 1) * q);
        sum -= q;
      }
      for (const uint16_t lane : lanes) {
        sum += static_cast<int16_t>(lane);
      }
    }
    return static_cast<double>(sum);
  }
};

// A watched tensor is kept from being fused with the operation behind it, and goes through memory as float32.
class ObserverChangesResult final : public Faulty {
 public:
  using Faulty::Faulty;
  Status finish_stage(const Pass& pass, Stage stage, int layer, Matrix& matrix) const override {
    if (pass.recorder != nullptr) {
      for (double& value : matrix.values) {
        value = static_cast<double>(static_cast<float>(value));
      }
    }
    return Oracle::finish_stage(pass, stage, layer, matrix);
  }
};

double float_sum_of_squares(std::span<const double> x) {
  float sum = 0;
  for (const double value : x) {
    sum += static_cast<float>(value * value);
  }
  return static_cast<double>(sum);
}

// Partial sums in float32 that are added up as threads happen to end: here, from a place drawn anew each time.
class Nondeterministic final : public Faulty {
 public:
  explicit Nondeterministic(const Oracle& plain) : Faulty(plain), random_(std::random_device{}()) {}
  double sum_of_squares(std::span<const double> x) const override {
    const size_t start = std::uniform_int_distribution<size_t>(0, x.size() - 1)(random_);
    return float_sum_of_squares(x.subspan(start)) + float_sum_of_squares(x.first(start));
  }

 private:
  mutable std::mt19937_64 random_;
};

// One partial sum in float32 for each thread.
class ThreadDependent final : public Faulty {
 public:
  ThreadDependent(const Oracle& plain, int n_threads) : Faulty(plain), n_threads_(static_cast<size_t>(n_threads)) {}
  double sum_of_squares(std::span<const double> x) const override {
    const size_t part = (x.size() + n_threads_ - 1) / n_threads_;
    double sum = 0;
    for (size_t begin = 0; begin < x.size(); begin += part) {
      sum += float_sum_of_squares(x.subspan(begin, std::min(part, x.size() - begin)));
    }
    return sum;
  }

 private:
  size_t n_threads_;
};

class Nan final : public Faulty {
 public:
  using Faulty::Faulty;
  Status finish_stage(const Pass& pass, Stage stage, int layer, Matrix& matrix) const override {
    if (stage == Stage::kOut && layer == middle_layer()) {
      std::fill(matrix.values.begin(), matrix.values.end(), std::numeric_limits<double>::quiet_NaN());
    }
    return Oracle::finish_stage(pass, stage, layer, matrix);
  }
};

class AllZero final : public Faulty {
 public:
  using Faulty::Faulty;
  Status finish_stage(const Pass& pass, Stage stage, int layer, Matrix& matrix) const override {
    if (stage == Stage::kVProj && layer == middle_layer()) {
      std::fill(matrix.values.begin(), matrix.values.end(), 0.0);
    }
    return Oracle::finish_stage(pass, stage, layer, matrix);
  }
};

class RopePairing final : public Faulty {
 public:
  explicit RopePairing(const Oracle& plain) : Faulty(plain) { hp_.rope_neox_pairs = !hp_.rope_neox_pairs; }
};

class CausalMask final : public Faulty {
 public:
  using Faulty::Faulty;
  size_t n_visible_keys(size_t position, size_t n_keys) const override { return std::min(position + 2, n_keys); }
};

// A reader that takes the codes for those of plain 2-bit integers, and knows no scale behind the last row.
class TernaryCodeMap final : public Faulty {
 public:
  using Faulty::Faulty;
  WeightRow weight_row(const gguf::Tensor& weight, uint64_t row) const override {
    WeightRow out = Oracle::weight_row(weight, row);
    if (is_bitnet_cpp_i2s(weight)) {
      for (double& value : out.weights) {
        value -= 1.0;
      }
      out.scale = 1.0;
    }
    return out;
  }
};

template <class F>
std::unique_ptr<Oracle> make(const Oracle& plain, [[maybe_unused]] int n_threads) {
  TERN_CHECK(n_threads >= 1);
  if constexpr (std::is_constructible_v<F, const Oracle&, int>) {
    return std::make_unique<F>(plain, n_threads);
  } else {
    return std::make_unique<F>(plain);
  }
}

constexpr Fault kFaults[] = {
    {"activation_function", "SiLU where the model declares ReLU², and the other way round", true,
     make<ActivationFunction>},
    {"i2s_block_size", "I2_S rows decoded with blocks of 64 instead of 128", true, make<I2sBlockSize>},
    {"prefill_only", "batches: four tokens are scaled back with the first one's activation scale", true,
     make<PrefillOnly>},
    {"int16_wrap", "I2_S sums wrap around in 16-bit lanes", true, make<Int16Wrap>},
    {"observer_changes_result", "watched tensors are rounded to float32", false, make<ObserverChangesResult>},
    {"nondeterministic", "sums of norms in an order that changes from run to run", false, make<Nondeterministic>},
    {"thread_dependent", "sums of norms in as many float32 parts as there are threads", false, make<ThreadDependent>},
    {"nan", "the output of the middle layer is NaN", false, make<Nan>},
    {"all_zero", "v_proj of the middle layer is zero", false, make<AllZero>},
    {"rope_pairing", "RoPE turns neighbours where the model pairs halves, and the other way round", true,
     make<RopePairing>},
    {"causal_mask", "each token sees the one after it", true, make<CausalMask>},
    {"ternary_code_map", "I2_S codes stand for -2 to 1, and the tensor's scale is ignored", true, make<TernaryCodeMap>},
};

}  // namespace

std::span<const Fault> known_faults() { return kFaults; }

const Fault* find_fault(std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kFaults), std::end(kFaults), [&](const Fault& fault) { return fault.name == name; });
  return found == std::end(kFaults) ? nullptr : found;
}

}  // namespace tern::oracle
