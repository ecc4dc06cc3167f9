// An observer of libllama's compute graph, called through the evaluation callback. It records the nodes that hold
// a stage, or all nodes. It requests only the nodes that are recorded, so the library computes the others as it
// always does.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node_names.h"
#include "tern/base/error.h"
#include "tern/trace/inputs.h"
#include "tern/trace/recorder.h"

namespace tern::adapter {

// What libllama's evaluation callback calls.
class NodeWatcher {
 public:
  virtual ~NodeWatcher() = default;
  // Called for every node of a graph, in order. True: `take()` is called as soon as the node is computed.
  virtual bool wants(const ggml_tensor& node) = 0;
  // False ends the evaluation.
  virtual bool take(ggml_tensor& node) = 0;

  // libllama's cb_eval; `self` is the NodeWatcher.
  static bool on_node(ggml_tensor* node, bool ask, void* self);
};

// Collects the nodes of a graph, for their names, before the graph is computed for the record.
class GraphSurvey final : public NodeWatcher {
 public:
  explicit GraphSurvey(NodeNames& names) : names_(names) {}
  bool wants(const ggml_tensor& node) override;
  bool take(ggml_tensor&) override { return true; }
  // Nodes with values of their own, in all graphs so far.
  uint64_t n_recordable() const { return n_recordable_; }

 private:
  NodeNames& names_;
  uint64_t n_recordable_ = 0;
};

class Observer final : public NodeWatcher {
 public:
  // All must outlive the observer. `names`: null, where only nodes that hold a stage are recorded. With `inputs`, what
  // a node came to is replaced by theirs once it is recorded, before the library goes on. With `list_nodes`, the nodes
  // of the first pass are printed to stdout.
  Observer(trace::Recorder& recorder, const trace::Inputs* inputs, NodeNames* names, bool list_nodes)
      : recorder_(recorder), inputs_(inputs), names_(names), list_nodes_(list_nodes) {}

  // One pass is one ubatch: `n_tokens` tokens of which the last is at position `n_keys` - 1.
  void begin_pass(int seq, int ubatch, int n_tokens, int n_keys);
  // Errors: those of the recorder; kEngine where the graph is none of those that this adapter maps: no stage in it at
  // all, a stage twice, or in another shape than docs/trace-format.md states.
  Status end_pass();

  // How many tensors of each stage were recorded.
  const std::map<trace::Stage, int>& counts() const { return counts_; }
  // Of all passes: nodes of the graphs, and those of them that hold no values of their own.
  uint64_t n_nodes() const { return n_nodes_; }
  uint64_t n_views() const { return n_views_; }

  bool wants(const ggml_tensor& node) override;
  bool take(ggml_tensor& node) override;

 private:
  struct Form {
    trace::Shape shape;
    size_t width = 0;  // values of each of the node's rows that are recorded
  };
  void list(const ggml_tensor& node) const;
  Status record(ggml_tensor& node);
  std::optional<Form> form_of(const ggml_tensor& node, trace::Stage stage) const;

  trace::Recorder& recorder_;
  const trace::Inputs* inputs_;
  NodeNames* names_;
  bool list_nodes_;
  int seq_ = 0, ubatch_ = 0, n_tokens_ = 0, n_keys_ = 0;
  std::set<trace::TensorId> seen_;  // in this pass
  std::map<trace::Stage, int> counts_;
  uint64_t n_nodes_ = 0, n_views_ = 0;
  Status status_;
  std::vector<float> values_;
};

}  // namespace tern::adapter
