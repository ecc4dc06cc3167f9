#include "observer.h"

#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "node_values.h"
#include "stage_of_node.h"

namespace tern::adapter {
namespace {

std::string describe(const ggml_tensor& node) {
  return fmt::format("{} {} [{}, {}, {}, {}] {}", node.name, ggml_op_name(node.op), node.ne[0], node.ne[1], node.ne[2],
                     node.ne[3], ggml_type_name(node.type));
}

std::optional<NodeStage> stage_of(const ggml_tensor& node) { return stage_of_node(node.name, ggml_op_name(node.op)); }

// The shape that docs/trace-format.md states for a known stage, or nullopt where the node cannot be cut to it. ggml's
// ne[0] is the fastest dimension. Scores are [keys padded, tokens, heads]. Other stages are [features, tokens] or
// [head size, heads, tokens].
std::optional<trace::Shape> shape_of_stage(const ggml_tensor& node, trace::Stage stage, int n_tokens, int n_keys) {
  const int64_t* ne = node.ne;
  if (ne[3] != 1) return std::nullopt;
  if (stage.kind() == trace::StageKind::kScores) {
    if (ne[1] != n_tokens || ne[0] < n_keys) return std::nullopt;
    return trace::Shape{ne[2], n_tokens, n_keys};
  }
  const bool flat = ne[1] == n_tokens && ne[2] == 1;
  if (!flat && ne[2] != n_tokens) return std::nullopt;
  return trace::Shape{n_tokens, flat ? ne[0] : ne[0] * ne[1]};
}

}  // namespace

bool NodeWatcher::on_node(ggml_tensor* node, bool ask, void* self) {
  auto& watcher = *static_cast<NodeWatcher*>(self);
  return ask ? watcher.wants(*node) : watcher.take(*node);
}

bool GraphSurvey::wants(const ggml_tensor& node) {
  if (holds_new_values(node)) {
    names_.note(node.name, ggml_op_name(node.op));
    ++n_recordable_;
  }
  return false;
}

void Observer::begin_pass(int seq, int ubatch, int n_tokens, int n_keys) {
  seq_ = seq;
  ubatch_ = ubatch;
  n_tokens_ = n_tokens;
  n_keys_ = n_keys;
  seen_.clear();
  status_ = {};
  if (names_ != nullptr) names_->begin_pass();
}

Status Observer::end_pass() {
  list_nodes_ = false;
  TERN_RETURN_IF_ERROR(status_);
  if (seen_.empty()) {
    return fail(ErrorCode::kEngine, "compute graph", "holds no node that is known as a stage",
                "see --list-nodes; --stages all records the nodes of any graph");
  }
  return {};
}

bool Observer::wants(const ggml_tensor& node) {
  if (list_nodes_) list(node);
  const bool is_new = holds_new_values(node);
  ++n_nodes_;
  n_views_ += is_new ? 0U : 1U;
  return names_ != nullptr ? is_new : stage_of(node).has_value();
}

bool Observer::take(ggml_tensor& node) {
  if (status_) status_ = record(node);
  return status_.has_value();
}

void Observer::list(const ggml_tensor& node) const {
  const auto found = stage_of(node);
  const std::string stage(found ? found->stage.name() : "-");
  std::printf("%s -> %s\n", printable(describe(node)).c_str(), stage.c_str());
}

std::optional<Observer::Form> Observer::form_of(const ggml_tensor& node, trace::Stage stage) const {
  if (!can_widen(node.type)) return std::nullopt;
  const bool holds_stage = (names_ == nullptr || names_->is_of_known_graph()) && stage.is_known() && stage_of(node);
  if (holds_stage) {
    if (const auto shape = shape_of_stage(node, stage, n_tokens_, n_keys_)) {
      const bool is_padded = stage.kind() == trace::StageKind::kScores;
      return Form{*shape, static_cast<size_t>(is_padded ? n_keys_ : node.ne[0])};
    }
    if (names_ == nullptr) return std::nullopt;
  }
  return Form{shape_of(node), static_cast<size_t>(node.ne[0])};
}

Status Observer::record(ggml_tensor& node) {
  const auto found = names_ != nullptr ? names_->name(node.name, ggml_op_name(node.op)) : stage_of(node);
  if (!found) return {};
  const trace::TensorId id{.seq = seq_, .ubatch = ubatch_, .layer = found->layer, .stage = found->stage};
  const auto form = form_of(node, id.stage);
  if (!form) {
    return fail(ErrorCode::kEngine, id.name(), fmt::format("has the unexpected form {}", printable(describe(node))),
                fmt::format("{} tokens and {} keys were expected, of a type that ggml can widen", n_tokens_, n_keys_));
  }
  if (!seen_.insert(id).second) {
    return fail(ErrorCode::kEngine, id.name(), "stands twice in the compute graph: " + printable(describe(node)));
  }
  read_rows(node, form->width, values_);
  ++counts_[id.stage];
  TERN_RETURN_IF_ERROR(recorder_.record(id, form->shape, values_, dtype_of(node)));
  if (inputs_ == nullptr || !inputs_->take_over(id, form->shape, std::span(values_))) return {};
  if (node.type != GGML_TYPE_F32 || node.nb[0] != sizeof(float)) {
    return fail(ErrorCode::kEngine, id.name(), "cannot be replaced by an input: " + printable(describe(node)));
  }
  write_rows(node, form->width, values_);
  return {};
}

}  // namespace tern::adapter
