#include "tern/oracle/faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <random>
#include <type_traits>

#include "tern/base/check.h"
#include "tern/oracle/graph_faults.h"
#include "tern/oracle/weight_faults.h"

namespace tern::oracle {
namespace {

using trace::Stage;

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
  bool adds_exactly(size_t) const override { return false; }
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

// Partial sums in float32, added up in the order in which threads end: here, from a random place on each time.
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
  ThreadDependent(const Oracle& plain, const FaultSetting& setting)
      : Faulty(plain), n_threads_(static_cast<size_t>(setting.n_threads)) {}
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

template <class F>
std::unique_ptr<Oracle> make(const Oracle& plain, const FaultSetting& setting) {
  TERN_CHECK(setting.n_threads >= 1);
  if constexpr (std::is_constructible_v<F, const Oracle&, const FaultSetting&>) {
    return std::make_unique<F>(plain, setting);
  } else {
    return std::make_unique<F>(plain);
  }
}

constexpr Fault kFaults[] = {
    {"activation_function", "SiLU where the model declares ReLU², and the other way round", "activation_function",
     make<ActivationFunction>},
    {"activation_gelu", "GELU in place of the model's activation", "activation_function", make<ActivationGelu>},
    {"activation_relu", "ReLU, not squared, in place of the model's activation", "activation_function",
     make<ActivationRelu>},
    {"activation_rounding", "activations rounded to int8 with one scale for the whole batch", "activation_rounding",
     make<ActivationRounding>},
    {"activation_not_rounded", "activations not rounded to int8", "activation_rounding", make<ActivationNotRounded>},
    {"i2s_block_size", "I2_S rows decoded with blocks of 64 instead of 128", "i2s_block_size", make<I2sBlockSize>},
    {"i2s_unpack_order", "I2_S bytes taken for four neighbours instead of weights 32 apart", "i2s_unpack_order",
     make<I2sUnpackOrder>},
    {"ternary_code_map", "I2_S codes stand for -2 to 1, and the tensor's scale is ignored", "ternary_code_map",
     make<TernaryCodeMap>},
    {"ternary_code_shift", "I2_S codes stand for 0 to 2: 1 is not subtracted", "ternary_code_map",
     make<TernaryCodeShift>},
    {"weights_transposed", "rows and columns of I2_S matrices change places", "weights_transposed",
     make<WeightsTransposed>},
    {"weight_scale", "the ternary tensors' scale is ignored", "weight_scale", make<WeightScale>},
    {"weights_swapped", "gate and up change places", "weights_swapped", make<WeightsSwapped>},
    {"qk_row_permutation", "rows of Q and K reordered within their heads, once more than they should be",
     "qk_row_permutation", make<QkRowPermutation>},
    {"qk_row_permutation_undone", "rows of Q and K put back into the order that they had before they were reordered",
     "qk_row_permutation", make<QkRowPermutationUndone>},
    {"head_tying", "the embeddings in place of the output matrix", "head_tying", make<HeadTying>},
    {"prefill_only", "batches: four tokens are scaled back with the first one's activation scale", "prefill_only",
     make<PrefillOnly>},
    {"int16_wrap", "I2_S sums wrap around in 16-bit lanes", "int16_wrap", make<Int16Wrap>},
    {"rope_pairing", "RoPE turns neighbours where the model pairs halves, and the other way round", "rope_pairing",
     make<RopePairing>},
    {"rope_base", "RoPE with another base", "rope_base", make<RopeBase>, kRopeBases},
    {"rope_position", "RoPE counts positions from 1", "rope_position", make<RopePosition>},
    {"rope_position_behind", "RoPE's positions are one behind, but in the first pass", "rope_position",
     make<RopePositionBehind>},
    {"rope_scaling", "RoPE's positions divided by a factor", "rope_scaling", make<RopeScaling>, kRopeFactors},
    {"attention_scale", "scores divided by the head's width instead of its root", "attention_scale",
     make<AttentionScale>},
    {"attention_not_scaled", "scores not divided by the root of the head's width", "attention_scale",
     make<AttentionNotScaled>},
    {"causal_mask", "each token attends to the one after it", "causal_mask", make<CausalMask>},
    {"causal_mask_short", "each token attends to those before it, and not to itself", "causal_mask",
     make<CausalMaskShort>},
    {"gqa_head_map", "every n-th head shares keys, instead of neighbours", "gqa_head_map", make<GqaHeadMap>},
    {"kv_cache", "a decode step does not attend to its own key and value", "kv_cache", make<KvCache>},
    {"kv_cache_stale", "a decode step finds the key and value of the token before it in place of its own", "kv_cache",
     make<KvCacheStale>},
    {"norm_doubled", "each norm is applied twice", "norm_doubled", make<NormDoubled>},
    {"norm_epsilon", "norms with another epsilon", "norm_epsilon", make<NormEpsilon>, kNormEpsilons},
    {"norm_missing", "no norms before the output and down projections", "norm_missing", make<NormMissing>},
    {"observer_changes_result", "watched tensors are rounded to float32", "", make<ObserverChangesResult>},
    {"nondeterministic", "sums of norms in an order that changes from run to run", "", make<Nondeterministic>},
    {"thread_dependent", "sums of norms in as many float32 parts as there are threads", "", make<ThreadDependent>},
    {"nan", "the output of the middle layer is NaN", "", make<Nan>},
    {"all_zero", "v_proj of the middle layer is zero", "", make<AllZero>},
};

using trace::kStagesWhere;
using trace::StageKind;
using trace::StageRow;

// Of architectures with sub-norms: whether a stage is computed from one.
constexpr bool follows_sub_norm(const StageRow& row) {
  return std::any_of(trace::kStageTable.begin(), trace::kStageTable.end(),
                     [&](const StageRow& before) { return before.only_with_sub_norms && before.name == row.follows; });
}

constexpr auto kProducts = kStagesWhere<[](const StageRow& row) {
  return row.kind == StageKind::kProjection || row.kind == StageKind::kHead;
}>;
constexpr auto kSubNormed = kStagesWhere<[](const StageRow& row) { return follows_sub_norm(row); }>;
constexpr auto kSubNorms =
    kStagesWhere<[](const StageRow& row) { return row.only_with_sub_norms || follows_sub_norm(row); }>;

constexpr Hypothesis kHypotheses[] = {
    {"prefill_only", kProducts, {}},
    {"int16_wrap", kProducts, {}},
    {"norm_missing", kSubNorms, kSubNormed},
};

}  // namespace

std::span<const Fault> known_faults() { return kFaults; }

std::span<const Hypothesis> hypotheses() { return kHypotheses; }

const Fault* find_fault(std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kFaults), std::end(kFaults), [&](const Fault& fault) { return fault.name == name; });
  return found == std::end(kFaults) ? nullptr : found;
}

Result<ChosenFault> parse_fault(std::string_view text) {
  const size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  ChosenFault chosen{find_fault(name), std::nullopt};
  if (chosen.fault == nullptr) {
    return fail(ErrorCode::kUsage, fmt::format("fault {}", printable(name)), "is not known",
                "tern run --help lists those that are");
  }
  if (equals == std::string_view::npos) {
    return chosen;
  }
  if (chosen.fault->values.empty()) {
    return fail(ErrorCode::kUsage, fmt::format("fault {}", name), "is no wrong constant, so it takes no number");
  }
  const std::string_view number = text.substr(equals + 1);
  double value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size() || !std::isfinite(value) || value <= 0) {
    return fail(ErrorCode::kUsage, fmt::format("fault {}", name),
                fmt::format("takes a positive number, which {} is not", printable(number)));
  }
  chosen.value = value;
  return chosen;
}

}  // namespace tern::oracle
