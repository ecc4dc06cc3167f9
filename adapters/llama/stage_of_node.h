// Which node of libllama's compute graph holds which stage. A name alone is ambiguous ("attn_out" and "kqv_out" mean
// different things in different graphs), so a node is identified by its name and its operation.
#pragma once

#include <optional>
#include <string_view>

#include "tern/trace/stage.h"

namespace tern::adapter {

struct NodeStage {
  int layer = -1;
  trace::Stage stage = trace::Stage::kEmbeddings;
};

// `name`: as in the graph, "Qcur-12" or "result_norm"; `op`: ggml_op_name(), "MUL_MAT". Covers the graphs of llama,
// bitnet and bitnet-b1.58 in the versions of 2024 and of 2025/26. nullopt: a node between stages.
std::optional<NodeStage> stage_of_node(std::string_view name, std::string_view op);

}  // namespace tern::adapter
