#include "tern/app/tensor_patterns.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/app/known_graph.h"
#include "tern/arch/model_file.h"
#include "tern/compare/name_pattern.h"

namespace tern::app {
namespace {

// All names of one stage, in all layers, passes and ubatches.
bool matches_in_graph(const std::string& pattern, trace::Stage stage, const compare::ModelGraph& graph, int n_passes,
                      int n_ubatches) {
  const bool in_layer = stage.row().place == trace::StagePlace::kInLayer;
  for (int seq = 0; seq < n_passes; ++seq) {
    for (int ubatch = 0; ubatch < (seq == 0 ? n_ubatches : 1); ++ubatch) {
      for (int layer = in_layer ? 0 : -1; layer < (in_layer ? graph.n_layers : 0); ++layer) {
        if (compare::matches(pattern, {seq, ubatch, layer, stage})) {
          return true;
        }
      }
    }
  }
  return false;
}

std::string known_stages() {
  std::string out;
  for (const trace::StageRow& row : trace::kStageTable) {
    out.append(out.empty() ? "known stages: " : ", ").append(row.name);
  }
  return out;
}

}  // namespace

std::vector<TensorPattern> patterns_in(const compare::CompareOptions& options) {
  std::vector<TensorPattern> patterns;
  for (const compare::StageTolerance& tolerance : options.tolerances.by_stage) {
    patterns.push_back({tolerance.pattern, tolerance.where});
  }
  for (const std::string& pattern : options.allow_missing) {
    patterns.push_back({pattern, "--allow-missing"});
  }
  return patterns;
}

bool is_of_graph(const TensorPattern& pattern, const compare::ModelGraph& graph, int n_passes, int n_ubatches) {
  const bool whole = pattern.pattern.find('/') != std::string::npos;
  return std::any_of(trace::kStageTable.begin(), trace::kStageTable.end(), [&](const trace::StageRow& row) {
    const trace::Stage stage(row);
    const bool in_layer = row.place == trace::StagePlace::kInLayer;
    return whole ? std::find(graph.stages.begin(), graph.stages.end(), stage) != graph.stages.end() &&
                       matches_in_graph(pattern.pattern, stage, graph, n_passes, n_ubatches)
                 : compare::matches(pattern.pattern, {0, 0, in_layer ? 0 : -1, stage});
  });
}

Status check_patterns(const std::vector<TensorPattern>& patterns,
                      const std::function<bool(const TensorPattern&)>& is_known) {
  const auto unknown = std::find_if(patterns.begin(), patterns.end(), [&](const auto& p) { return !is_known(p); });
  if (unknown == patterns.end()) {
    return {};
  }
  const bool whole = unknown->pattern.find('/') != std::string::npos;
  return fail(ErrorCode::kUsage, unknown->where,
              fmt::format("the pattern '{}' matches no {}", printable(unknown->pattern), whole ? "tensor" : "stage"),
              known_stages());
}

compare::ModelGraph graph_of(const gguf::View& view) {
  const auto file = arch::ModelFile::read(view);
  return file ? compare::ModelGraph{stages_of_graph(file->family().name), static_cast<int>(file->numbers().n_layers)}
              : compare::ModelGraph();
}

}  // namespace tern::app
