// The stages of a forward pass: what engines record and comparisons align by. Names and order are those of the contract
// (docs/trace-format.md).
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace tern::trace {

// In execution order: embeddings; the layer stages, once per layer; output_norm and logits.
enum class Stage {
  kEmbeddings,
  kAttnNorm,
  kQProj,
  kQRope,
  kKProj,
  kKRope,
  kVProj,
  kAttnScoresSoftmax,
  kAttnOut,
  kAttnSubNorm,
  kOProj,
  kFfnInp,
  kFfnNorm,
  kGateProj,
  kUpProj,
  kFfnAct,
  kFfnSubNorm,
  kDownProj,
  kOut,
  kOutputNorm,
  kLogits,
};

std::string_view stage_name(Stage stage);
std::optional<Stage> stage_from_name(std::string_view name);
// True for the stages that exist once per layer.
bool is_layer_stage(Stage stage);

// One tensor of one run. Ordered as a forward pass executes: step, ubatch, layer, stage.
struct TensorId {
  int seq = 0;     // 0 the prefill, 1.. the decode steps
  int ubatch = 0;  // which piece of the prefill
  int layer = -1;  // -1 outside the layers
  Stage stage = Stage::kEmbeddings;

  // "blk0/q_proj", "t2/output_norm", "u1/blk0/attn_norm"
  std::string name() const;
  static std::optional<TensorId> parse(std::string_view name);

  std::strong_ordering operator<=>(const TensorId& other) const;
  bool operator==(const TensorId& other) const = default;
};

}  // namespace tern::trace
