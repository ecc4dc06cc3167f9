#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tern/arch/family.h"

namespace tern::arch {
namespace {

constexpr uint64_t kMaxLayers = 1 << 12;
constexpr uint64_t kMaxContext = 1 << 24;  // float32 holds each position exactly

constexpr Expression kOne = [](const Numbers&) -> int64_t { return 1; };
constexpr Expression kEmbd = [](const Numbers& n) { return n.n_embd; };
constexpr Expression kFf = [](const Numbers& n) { return n.n_ff; };
constexpr Expression kQRows = [](const Numbers& n) { return n.n_q(); };
constexpr Expression kKvRows = [](const Numbers& n) { return n.n_kv(); };
constexpr Expression kVocab = [](const Numbers& n) { return n.n_vocab; };
constexpr Expression kHeads = [](const Numbers& n) { return n.n_heads; };
constexpr Expression kHeadDim = [](const Numbers& n) { return n.head_dim; };
constexpr Expression kEmbdPerHead = [](const Numbers& n) { return n.n_embd / n.n_heads; };

// Read in this order: an expression may use what stands above it.
constexpr CountKey kCounts[] = {
    {"block_count", &Numbers::n_layers, kMaxLayers, nullptr},
    {"embedding_length", &Numbers::n_embd, kMaxWidth, nullptr},
    {"feed_forward_length", &Numbers::n_ff, kMaxWidth, nullptr},
    {"context_length", &Numbers::n_context, kMaxContext, nullptr},
    {"attention.head_count", &Numbers::n_heads, kMaxWidth, nullptr},
    {"attention.head_count_kv", &Numbers::n_kv_heads, kMaxWidth, kHeads},
    {"attention.key_length", &Numbers::head_dim, kMaxWidth, kEmbdPerHead},
    {"attention.value_length", nullptr, kMaxWidth, kHeadDim},
    {"rope.dimension_count", nullptr, kMaxWidth, kHeadDim},
    {"vocab_size", nullptr, kMaxVocab, kVocab},
};

constexpr NumberKey kNumbers[] = {
    {"attention.layer_norm_rms_epsilon", &Numbers::norm_epsilon, 1e-12, 1.0, std::nullopt},
    {"rope.freq_base", &Numbers::rope_base, 1.0, 1e12, 10000.0},
    {"rope.scaling.factor", nullptr, 1.0, 1.0, 1.0},
};

constexpr std::string_view kNoScaling[] = {"none", "linear"};  // linear with the factor 1
constexpr TextKey kTexts[] = {{"rope.scaling.type", kNoScaling}};

constexpr TensorSpec kEmbedding = {Role::kEmbedding, "token_embd.weight", false, true, Use::kRows, kVocab, kEmbd};
constexpr TensorSpec kOutputNorm = {Role::kOutputNorm, "output_norm.weight", false, true, Use::kNorm, kOne, kEmbd};
constexpr TensorSpec kHead = {Role::kHead, "output.weight", false, false, Use::kRows, kVocab, kEmbd};

constexpr TensorSpec kAttnNorm = {Role::kAttnNorm, "attn_norm.weight", true, true, Use::kNorm, kOne, kEmbd};
constexpr TensorSpec kQ = {Role::kQ, "attn_q.weight", true, true, Use::kProduct, kQRows, kEmbd};
constexpr TensorSpec kK = {Role::kK, "attn_k.weight", true, true, Use::kProduct, kKvRows, kEmbd};
constexpr TensorSpec kV = {Role::kV, "attn_v.weight", true, true, Use::kProduct, kKvRows, kEmbd};
constexpr TensorSpec kAttnSubNorm = {Role::kAttnSubNorm, "attn_sub_norm.weight", true, true, Use::kNorm, kOne, kQRows};
constexpr TensorSpec kO = {Role::kO, "attn_output.weight", true, true, Use::kProduct, kEmbd, kQRows};
constexpr TensorSpec kFfnNorm = {Role::kFfnNorm, "ffn_norm.weight", true, true, Use::kNorm, kOne, kEmbd};
constexpr TensorSpec kFfnSubNorm = {Role::kFfnSubNorm, "ffn_sub_norm.weight", true, true, Use::kNorm, kOne, kFf};
constexpr TensorSpec kGate = {Role::kGate, "ffn_gate.weight", true, true, Use::kProduct, kFf, kEmbd};
constexpr TensorSpec kUp = {Role::kUp, "ffn_up.weight", true, true, Use::kProduct, kFf, kEmbd};
constexpr TensorSpec kDown = {Role::kDown, "ffn_down.weight", true, true, Use::kProduct, kEmbd, kFf};

constexpr TensorSpec kLlamaTensors[] = {kEmbedding, kOutputNorm, kAttnNorm, kQ,  kK,    kV,
                                        kO,         kFfnNorm,    kGate,     kUp, kDown, kHead};
constexpr TensorSpec kBitnetTensors[] = {kEmbedding, kOutputNorm, kAttnNorm,   kAttnSubNorm, kQ,  kK,    kV,
                                         kO,         kFfnNorm,    kFfnSubNorm, kGate,        kUp, kDown, kHead};

// Name, graph, keys, tensors; is_ternary, ties_head, states_rope_scaling. "bitnet-25" is an earlier name.
constexpr Family kFamilies[] = {
    {"bitnet-b1.58", "bitnet-b1.58", kCounts, kNumbers, kTexts, kBitnetTensors, true, true, false},
    {"bitnet-25", "bitnet-b1.58", kCounts, kNumbers, kTexts, kBitnetTensors, true, true, false},
    {"bitnet", "bitnet", kCounts, kNumbers, kTexts, kBitnetTensors, true, true, true},
    {"llama", "llama", kCounts, kNumbers, kTexts, kLlamaTensors, false, false, false},
};

}  // namespace

const TensorSpec* Family::find(Role role) const {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [role](const TensorSpec& spec) { return spec.role == role; });
  return found == tensors.end() ? nullptr : &*found;
}

std::span<const Family> families() { return kFamilies; }

const Family* find_family(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                         [&](const Family& family) { return family.name == name; });
  return found == std::end(kFamilies) ? nullptr : found;
}

std::string family_names() {
  std::string names;
  for (const Family& family : kFamilies) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", family.name);
  }
  return names;
}

std::string tensor_name(const TensorSpec& spec, int64_t layer) {
  return spec.is_per_layer ? fmt::format("blk.{}.{}", layer, spec.name) : std::string(spec.name);
}

}  // namespace tern::arch
