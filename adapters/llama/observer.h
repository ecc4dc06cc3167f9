// Sees every node of libllama's compute graph through the evaluation callback and hands the stages on. Only nodes that
// hold a stage are asked for, so the library is free to run the others as it always does.
#pragma once

#include <ggml.h>

#include <map>
#include <set>
#include <vector>

#include "tern/base/error.h"
#include "tern/trace/inputs.h"
#include "tern/trace/recorder.h"

namespace tern::adapter {

class Observer {
 public:
  // All must outlive the observer. With `inputs`, what a node came to is replaced by theirs once it is recorded, before
  // the library goes on. With `list_nodes`, the nodes of the first pass are printed to stdout.
  Observer(trace::Recorder& recorder, const trace::Inputs* inputs, bool list_nodes)
      : recorder_(recorder), inputs_(inputs), list_nodes_(list_nodes) {}

  // One pass is one ubatch: `n_tokens` tokens of which the last is at position `n_keys` - 1.
  void begin_pass(int seq, int ubatch, int n_tokens, int n_keys);
  // Errors: those of the recorder; kEngine where the graph is not what this adapter knows: no stage in it at all, a
  // stage twice, or in a shape that is not the contract's.
  Status end_pass();

  // How many tensors of each stage were recorded.
  const std::map<trace::Stage, int>& counts() const { return counts_; }

  // libllama's cb_eval; `self` is the Observer.
  static bool on_node(ggml_tensor* node, bool ask, void* self);

 private:
  void list(const ggml_tensor& node) const;
  Status take(ggml_tensor& node);

  trace::Recorder& recorder_;
  const trace::Inputs* inputs_;
  bool list_nodes_;
  int seq_ = 0, ubatch_ = 0, n_tokens_ = 0, n_keys_ = 0;
  std::set<trace::TensorId> seen_;  // in this pass
  std::map<trace::Stage, int> counts_;
  Status status_;
  std::vector<float> values_;
};

}  // namespace tern::adapter
