// The stages of a forward pass: what engines record and comparisons align by. A stage is a name. Those with a known
// meaning are the rows of stage_table.h; an engine may record others, which are compared and reported alike.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tern/trace/stage_table.h"

namespace tern::trace {

// Cheap to copy and to compare: one pointer. Names that are not in the table are interned for the life of the process.
class Stage {
 public:
  static const Stage kEmbeddings, kAttnNorm, kQProj, kQRope, kKProj, kKRope, kVProj, kAttnScoresSoftmax, kAttnOut,
      kAttnSubNorm, kOProj, kFfnInp, kFfnNorm, kGateProj, kUpProj, kFfnAct, kFfnSubNorm, kDownProj, kOut, kOutputNorm,
      kLogits;

  // A known stage.
  explicit constexpr Stage(const StageRow& row) : row_(&row) {}
  // The stage of that name inside a layer or outside of all. A name of the table in the other place ("logits" inside a
  // layer) is a stage of its own, of which nothing is known. `name`: one that TensorId::parse() takes.
  static Stage named(std::string_view name, bool in_layer);

  constexpr std::string_view name() const { return row_->name; }
  constexpr StageKind kind() const { return row_->kind; }
  constexpr bool is_known() const { return kind() != StageKind::kOther; }
  // What the table says of it; empty fields for a stage that is not in it.
  constexpr const StageRow& row() const { return *row_; }

  constexpr bool operator==(const Stage& other) const = default;
  // Known stages come first, in the table's order; the others follow by name.
  std::strong_ordering operator<=>(const Stage& other) const;

 private:
  const StageRow* row_;
};

inline constexpr Stage Stage::kEmbeddings{*stage_row("embeddings")};
inline constexpr Stage Stage::kAttnNorm{*stage_row("attn_norm")};
inline constexpr Stage Stage::kQProj{*stage_row("q_proj")};
inline constexpr Stage Stage::kQRope{*stage_row("q_rope")};
inline constexpr Stage Stage::kKProj{*stage_row("k_proj")};
inline constexpr Stage Stage::kKRope{*stage_row("k_rope")};
inline constexpr Stage Stage::kVProj{*stage_row("v_proj")};
inline constexpr Stage Stage::kAttnScoresSoftmax{*stage_row("attn_scores_softmax")};
inline constexpr Stage Stage::kAttnOut{*stage_row("attn_out")};
inline constexpr Stage Stage::kAttnSubNorm{*stage_row("attn_sub_norm")};
inline constexpr Stage Stage::kOProj{*stage_row("o_proj")};
inline constexpr Stage Stage::kFfnInp{*stage_row("ffn_inp")};
inline constexpr Stage Stage::kFfnNorm{*stage_row("ffn_norm")};
inline constexpr Stage Stage::kGateProj{*stage_row("gate_proj")};
inline constexpr Stage Stage::kUpProj{*stage_row("up_proj")};
inline constexpr Stage Stage::kFfnAct{*stage_row("ffn_act")};
inline constexpr Stage Stage::kFfnSubNorm{*stage_row("ffn_sub_norm")};
inline constexpr Stage Stage::kDownProj{*stage_row("down_proj")};
inline constexpr Stage Stage::kOut{*stage_row("out")};
inline constexpr Stage Stage::kOutputNorm{*stage_row("output_norm")};
inline constexpr Stage Stage::kLogits{*stage_row("logits")};

// The known stages for which `kHolds(row)` is true, in execution order: an array made at compile time.
template <auto kHolds>
inline constexpr auto kStagesWhere = [] {
  constexpr size_t kCount = [] {
    size_t n = 0;
    for (const StageRow& row : kStageTable) {
      n += kHolds(row) ? 1U : 0U;
    }
    return n;
  }();
  return []<size_t... i>(std::index_sequence<i...>) {
    constexpr auto nth = [](size_t wanted) -> const StageRow& {
      for (const StageRow& row : kStageTable) {
        if (kHolds(row) && wanted-- == 0) {
          return row;
        }
      }
      throw "fewer stages than counted";
    };
    return std::array<Stage, kCount>{Stage(nth(i))...};
  }
  (std::make_index_sequence<kCount>());
}();

// Zero for a token whose gate lets nothing through: the activation, and what is computed from it without a sum.
constexpr bool follows_gate(const StageRow& row) {
  if (row.kind == StageKind::kActivation) {
    return true;
  }
  for (const StageRow& before : kStageTable) {
    if ((row.kind == StageKind::kNorm || row.kind == StageKind::kProjection) && before.name == row.follows) {
      return follows_gate(before);
    }
  }
  return false;
}

// The stage that it is computed from, in a graph with sub-norms or without; nullopt where that is what goes into the
// layer, or not known.
std::optional<Stage> input_of(Stage stage, bool has_sub_norms);

// The known stages of a graph, in execution order: those without a weight, and those whose weight it has. `has_weight`
// takes StageRow::weight.
std::vector<Stage> stages_with_weights(const std::function<bool(std::string_view weight)>& has_weight);

// One tensor of one run.
struct TensorId {
  int seq = 0;     // 0 the prefill, 1.. the decode steps
  int ubatch = 0;  // which piece of the prefill
  int layer = -1;  // -1 outside the layers
  Stage stage = Stage::kEmbeddings;

  // "blk0/q_proj", "t2/output_norm", "u1/blk0/attn_norm"
  std::string name() const;
  // nullopt for a name that cannot be one: longer than kMaxName bytes, with control characters or backslashes, or with
  // an empty part, "." or ".." between slashes. Names come from outside and become file names.
  static std::optional<TensorId> parse(std::string_view name);
  static constexpr size_t kMaxName = 200;  // a file name has 255 bytes, those of temporary files too

  // Any total order will do for look-ups. For known stages it is the order of execution: step, ubatch, layer, stage;
  // others follow those of their layer. A run's records state the order in which it executed its tensors (record.h).
  std::strong_ordering operator<=>(const TensorId& other) const;
  bool operator==(const TensorId& other) const = default;
};

}  // namespace tern::trace
