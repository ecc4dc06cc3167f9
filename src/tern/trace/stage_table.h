// What is known of stages: one row per known stage, in execution order. A stage is a name (stage.h), and an engine may
// record any; a row adds the meaning from which expected coverage, advice and causes are derived. To add a known stage,
// add a row here and record it in model/ and oracle/. Every list of stages is a filter of this table.
// Source of names and order: docs/trace-format.md.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tern::trace {

enum class StageKind : uint8_t {
  kOther,       // not a known stage
  kEmbedding,   // rows of the embedding matrix
  kNorm,        // RMSNorm times its weight
  kProjection,  // a product with a weight matrix, inside a layer
  kRope,
  kScores,      // attention probabilities
  kMixing,      // values summed by these probabilities
  kActivation,  // of the gate, times up
  kResidual,    // a sum with what went into the half of the layer
  kHead,        // the product that gives the logits
};

// Where in a forward pass a stage stands. An unknown stage outside of the layers may stand anywhere.
enum class StagePlace : uint8_t { kBeforeLayers, kInLayer, kBehindLayers, kUnknown };

struct StageRow {
  std::string_view name;
  StageKind kind = StageKind::kOther;
  StagePlace place = StagePlace::kUnknown;
  std::string_view weight = {};      // the GGUF tensor, without "blk.N." and ".weight"; empty where there is none
  std::string_view follows = {};     // the stage that it is computed from; of two, the one that comes last
  bool only_with_sub_norms = false;  // only in architectures that have norms before the output and down projections
  bool holds_query_heads = false;    // its features are the query heads, one after the other
  std::string_view advice = {};      // where to look when it differs and its input does not
};

namespace stage_advice {
inline constexpr std::string_view kNorm =
    "This is an RMSNorm: check its epsilon, that its weight is applied once, and the weight itself with `tern inspect "
    "MODEL --ln-stats`.";
inline constexpr std::string_view kRope =
    "The projection before it agrees: check the RoPE base, how the dimensions are paired (adjacent, or first half with "
    "second half), and the position of each token.";
inline constexpr std::string_view kSum =
    "This is a residual sum whose terms are traced: check that both terms are added, once.";
}  // namespace stage_advice

inline constexpr auto kStageTable = std::to_array<StageRow>({
    {.name = "embeddings",
     .kind = StageKind::kEmbedding,
     .place = StagePlace::kBeforeLayers,
     .weight = "token_embd",
     .advice = "Nothing comes before it: check that both sides load the same model file, that the rows of "
               "token_embd.weight are picked by the same token ids, and how they are widened to float32."},
    {.name = "attn_norm",
     .kind = StageKind::kNorm,
     .place = StagePlace::kInLayer,
     .weight = "attn_norm",
     .advice = stage_advice::kNorm},
    {.name = "q_proj",
     .kind = StageKind::kProjection,
     .place = StagePlace::kInLayer,
     .weight = "attn_q",
     .follows = "attn_norm",
     .holds_query_heads = true},
    {.name = "q_rope",
     .kind = StageKind::kRope,
     .place = StagePlace::kInLayer,
     .follows = "q_proj",
     .holds_query_heads = true,
     .advice = stage_advice::kRope},
    {.name = "k_proj",
     .kind = StageKind::kProjection,
     .place = StagePlace::kInLayer,
     .weight = "attn_k",
     .follows = "attn_norm"},
    {.name = "k_rope",
     .kind = StageKind::kRope,
     .place = StagePlace::kInLayer,
     .follows = "k_proj",
     .advice = stage_advice::kRope},
    {.name = "v_proj",
     .kind = StageKind::kProjection,
     .place = StagePlace::kInLayer,
     .weight = "attn_v",
     .follows = "attn_norm"},
    {.name = "attn_scores_softmax",
     .kind = StageKind::kScores,
     .place = StagePlace::kInLayer,
     .follows = "k_rope",
     .advice = "Check the scale 1/sqrt(head_dim), the causal mask, which KV head a query head uses, and the precision "
               "of the key cache."},
    {.name = "attn_out",
     .kind = StageKind::kMixing,
     .place = StagePlace::kInLayer,
     .follows = "attn_scores_softmax",
     .holds_query_heads = true,
     .advice = "The softmax agrees: check the value cache, which KV head a query head uses, and the order in which "
               "heads are merged."},
    {.name = "attn_sub_norm",
     .kind = StageKind::kNorm,
     .place = StagePlace::kInLayer,
     .weight = "attn_sub_norm",
     .follows = "attn_out",
     .only_with_sub_norms = true,
     .advice = stage_advice::kNorm},
    {.name = "o_proj",
     .kind = StageKind::kProjection,
     .place = StagePlace::kInLayer,
     .weight = "attn_output",
     .follows = "attn_sub_norm"},
    {.name = "ffn_inp",
     .kind = StageKind::kResidual,
     .place = StagePlace::kInLayer,
     .follows = "o_proj",
     .advice = stage_advice::kSum},
    {.name = "ffn_norm",
     .kind = StageKind::kNorm,
     .place = StagePlace::kInLayer,
     .weight = "ffn_norm",
     .follows = "ffn_inp",
     .advice = stage_advice::kNorm},
    {.name = "gate_proj",
     .kind = StageKind::kProjection,
     .place = StagePlace::kInLayer,
     .weight = "ffn_gate",
     .follows = "ffn_norm"},
    {.name = "up_proj",
     .kind = StageKind::kProjection,
     .place = StagePlace::kInLayer,
     .weight = "ffn_up",
     .follows = "ffn_norm"},
    {.name = "ffn_act",
     .kind = StageKind::kActivation,
     .place = StagePlace::kInLayer,
     .follows = "up_proj",
     .advice = "Gate and up agree: check the activation function (ReLU squared for bitnet-b1.58, SiLU for bitnet and "
               "llama) and that it is applied to the gate."},
    {.name = "ffn_sub_norm",
     .kind = StageKind::kNorm,
     .place = StagePlace::kInLayer,
     .weight = "ffn_sub_norm",
     .follows = "ffn_act",
     .only_with_sub_norms = true,
     .advice = stage_advice::kNorm},
    {.name = "down_proj",
     .kind = StageKind::kProjection,
     .place = StagePlace::kInLayer,
     .weight = "ffn_down",
     .follows = "ffn_sub_norm"},
    {.name = "out",
     .kind = StageKind::kResidual,
     .place = StagePlace::kInLayer,
     .follows = "down_proj",
     .advice = stage_advice::kSum},
    {.name = "output_norm",
     .kind = StageKind::kNorm,
     .place = StagePlace::kBehindLayers,
     .weight = "output_norm",
     .follows = "out",
     .advice = stage_advice::kNorm},
    {.name = "logits",
     .kind = StageKind::kHead,
     .place = StagePlace::kBehindLayers,
     .weight = "output",
     .follows = "output_norm",
     .advice = "Everything up to output_norm agrees: check the output matrix (tied to token_embd.weight or an own "
               "output.weight) and its precision."},
});

// The row of that name; the name must stand in the table.
consteval const StageRow* stage_row(std::string_view name) {
  for (const StageRow& row : kStageTable) {
    if (row.name == name) {
      return &row;
    }
  }
  throw "no known stage has this name";
}

// Architectures whose graphs consist of known stages.
struct KnownGraph {
  std::string_view architecture;  // general.architecture of the GGUF file
  bool has_sub_norms = false;
};
inline constexpr auto kKnownGraphs = std::to_array<KnownGraph>({
    {"bitnet-b1.58", true},
    {"bitnet-25", true},  // an earlier name of it
    {"bitnet", true},
    {"llama", false},
});

}  // namespace tern::trace
