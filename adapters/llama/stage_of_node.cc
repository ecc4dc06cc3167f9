#include "stage_of_node.h"

#include <charconv>

namespace tern::adapter {
namespace {

using trace::Stage;

struct Row {
  std::string_view name;
  std::string_view op;
  Stage stage;
};

// Where two rows give one stage, a graph has one of the two nodes. Read off dumped graphs (--list-nodes).
constexpr Row kRows[] = {
    {"inp_embd", "GET_ROWS", Stage::kEmbeddings},  // 2024
    {"embd", "GET_ROWS", Stage::kEmbeddings},      // 2025/26
    {"attn_norm", "MUL", Stage::kAttnNorm},
    {"Qcur", "MUL_MAT", Stage::kQProj},
    {"Qcur", "ROPE", Stage::kQRope},
    {"Kcur", "MUL_MAT", Stage::kKProj},
    {"Kcur", "ROPE", Stage::kKRope},
    {"Vcur", "MUL_MAT", Stage::kVProj},
    {"kq_soft_max_ext", "SOFT_MAX", Stage::kAttnScoresSoftmax},  // 2024
    {"kq_soft_max", "SOFT_MAX", Stage::kAttnScoresSoftmax},      // 2025/26
    {"kqv_out", "CONT", Stage::kAttnOut},                        // 2024: bitnet
    {"kqv_merged_cont", "CONT", Stage::kAttnOut},                // 2024: llama
    {"attn_sub_norm", "MUL", Stage::kAttnSubNorm},
    {"attn_o_out", "MUL_MAT", Stage::kOProj},  // 2024: bitnet
    {"kqv_out", "MUL_MAT", Stage::kOProj},     // 2024: llama
    {"attn_out", "MUL_MAT", Stage::kOProj},    // 2025/26
    {"ffn_inp", "ADD", Stage::kFfnInp},
    {"ffn_norm", "MUL", Stage::kFfnNorm},
    {"ffn_gate", "MUL_MAT", Stage::kGateProj},
    {"ffn_up", "MUL_MAT", Stage::kUpProj},
    {"ffn_out", "MUL", Stage::kFfnAct},       // 2024: bitnet-b1.58
    {"ffn_sub_out", "MUL", Stage::kFfnAct},   // 2024: bitnet
    {"ffn_gate_par", "MUL", Stage::kFfnAct},  // 2024: llama
    {"ffn_swiglu", "GLU", Stage::kFfnAct},    // 2025/26: llama
    {"ffn_sub_out", "GLU", Stage::kFfnAct},   // 2025/26: bitnet
    {"ffn_sub_norm", "MUL", Stage::kFfnSubNorm},
    {"ffn_down", "MUL_MAT", Stage::kDownProj},
    {"ffn_out", "MUL_MAT", Stage::kDownProj},  // llama
    {"l_out", "ADD", Stage::kOut},
    {"result_norm", "MUL", Stage::kOutputNorm},
    {"result_output", "MUL_MAT", Stage::kLogits},
};

// "Qcur-12" -> 12; nullopt where there is no number behind the last '-'.
std::optional<int> layer_suffix(std::string_view name) {
  const size_t dash = name.rfind('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const char* const end = name.data() + name.size();
  int layer = 0;
  const auto [stop, error] = std::from_chars(name.data() + dash + 1, end, layer);
  return error == std::errc() && stop == end && layer >= 0 ? std::optional(layer) : std::nullopt;
}

}  // namespace

std::optional<NodeStage> stage_of_node(std::string_view name, std::string_view op) {
  const std::optional<int> layer = layer_suffix(name);
  const std::string_view base = layer ? name.substr(0, name.rfind('-')) : name;
  for (const Row& row : kRows) {
    if (row.name == base && row.op == op &&
        (row.stage.row().place == trace::StagePlace::kInLayer) == layer.has_value()) {
      return NodeStage{layer.value_or(-1), row.stage};
    }
  }
  return std::nullopt;
}

}  // namespace tern::adapter
