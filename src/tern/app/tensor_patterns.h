// The patterns of tensors' names that users give: rules of --tolerances, and --allow-missing. One that can match
// nothing is an error, since it would silently do nothing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/compare/compare_runs.h"
#include "tern/gguf/view.h"

namespace tern::app {

struct TensorPattern {
  std::string pattern, where;  // "t.toml line 3: stage", "--allow-missing"
};
std::vector<TensorPattern> patterns_in(const compare::CompareOptions& options);

// Whether a pattern names a known stage, or a tensor of that graph in one of so many passes of so many ubatches.
bool is_of_graph(const TensorPattern& pattern, const compare::ModelGraph& graph, int n_passes, int n_ubatches);

// Errors: kUsage for the first pattern of which `is_known` is false; the hint lists the known stages.
Status check_patterns(const std::vector<TensorPattern>& patterns,
                      const std::function<bool(const TensorPattern&)>& is_known);

// What a forward pass of the model has; empty where its graph is not known: another architecture, or keys and tensors
// that change the graph in a way that arch/ does not describe. Whether an engine of tern computes it does not count.
compare::ModelGraph graph_of(const gguf::View& view);

}  // namespace tern::app
