#include "observer.h"

#include <fmt/format.h>
#include <ggml-backend.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>

#include "stage_of_node.h"

namespace tern::adapter {
namespace {

std::string describe(const ggml_tensor& node) {
  return fmt::format("{} {} [{}, {}, {}, {}] {}", node.name, ggml_op_name(node.op), node.ne[0], node.ne[1], node.ne[2],
                     node.ne[3], ggml_type_name(node.type));
}

std::optional<NodeStage> stage_of(const ggml_tensor& node) { return stage_of_node(node.name, ggml_op_name(node.op)); }

// `n` neighbouring values of `type` at `from`, widened to float32.
void widen(ggml_type type, const std::byte* from, size_t n, float* to) {
  const auto count = static_cast<int64_t>(n);
  if (type == GGML_TYPE_F16) {
    ggml_fp16_to_fp32_row(reinterpret_cast<const ggml_fp16_t*>(from), to, count);
  } else if (type == GGML_TYPE_BF16) {
    ggml_bf16_to_fp32_row(reinterpret_cast<const ggml_bf16_t*>(from), to, count);
  } else {
    std::memcpy(to, from, n * sizeof(float));
  }
}

bool can_widen(ggml_type type) { return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16; }

// Where each row of `node` begins, in bytes from the first one. Nodes may be views with any strides.
template <class Visit>
void for_each_row(const ggml_tensor& node, const Visit& visit) {
  for (int64_t i3 = 0; i3 < node.ne[3]; ++i3) {
    for (int64_t i2 = 0; i2 < node.ne[2]; ++i2) {
      for (int64_t i1 = 0; i1 < node.ne[1]; ++i1) {
        visit(static_cast<size_t>(i1) * node.nb[1] + static_cast<size_t>(i2) * node.nb[2] +
              static_cast<size_t>(i3) * node.nb[3]);
      }
    }
  }
}

// All rows of `node`, each cut to `width` values, into `out`, dense. Nodes may live in memory that only their backend
// can read.
void read_rows(const ggml_tensor& node, size_t width, std::vector<float>& out) {
  std::vector<std::byte> bytes(ggml_nbytes(&node));  // from the first value to the last, gaps included
  ggml_backend_tensor_get(&node, bytes.data(), 0, bytes.size());
  out.clear();
  out.resize(width * static_cast<size_t>(ggml_nrows(&node)));
  const bool dense_rows = node.nb[0] == ggml_type_size(node.type);
  float* to = out.data();
  for_each_row(node, [&](size_t offset) {
    const std::byte* row = bytes.data() + offset;
    if (dense_rows) {
      widen(node.type, row, width, to);
    } else {
      for (size_t i0 = 0; i0 < width; ++i0) widen(node.type, row + i0 * node.nb[0], 1, to + i0);
    }
    to += width;
  });
}

// The other way round, for float32 nodes: `values`, dense, into the first `width` values of each row.
void write_rows(ggml_tensor& node, size_t width, const std::vector<float>& values) {
  const float* from = values.data();
  for_each_row(node, [&](size_t offset) {
    ggml_backend_tensor_set(&node, from, offset, width * sizeof(float));
    from += width;
  });
}

// The contract's shape of a node, or nothing where it cannot be cut to that. ggml's ne[0] is the fastest dimension.
// Scores are [keys padded, tokens, heads]; all else is [features, tokens] or [head size, heads, tokens].
std::optional<trace::Shape> shape_of(const ggml_tensor& node, trace::Stage stage, int n_tokens, int n_keys) {
  const int64_t* ne = node.ne;
  if (ne[3] != 1) return std::nullopt;
  if (stage == trace::Stage::kAttnScoresSoftmax) {
    if (ne[1] != n_tokens || ne[0] < n_keys) return std::nullopt;
    return trace::Shape{ne[2], n_tokens, n_keys};
  }
  const bool flat = ne[1] == n_tokens && ne[2] == 1;
  if (!flat && ne[2] != n_tokens) return std::nullopt;
  return trace::Shape{n_tokens, flat ? ne[0] : ne[0] * ne[1]};
}

}  // namespace

void Observer::begin_pass(int seq, int ubatch, int n_tokens, int n_keys) {
  seq_ = seq;
  ubatch_ = ubatch;
  n_tokens_ = n_tokens;
  n_keys_ = n_keys;
  seen_.clear();
  status_ = {};
}

Status Observer::end_pass() {
  list_nodes_ = false;
  TERN_RETURN_IF_ERROR(status_);
  if (seen_.empty()) {
    return fail(ErrorCode::kEngine, "compute graph", "holds no node that is known as a stage",
                "see --list-nodes; stage_of_node.cc has to learn this version's names");
  }
  return {};
}

bool Observer::on_node(ggml_tensor* node, bool ask, void* self) {
  auto& observer = *static_cast<Observer*>(self);
  if (ask) {
    if (observer.list_nodes_) observer.list(*node);
    return stage_of(*node).has_value();
  }
  if (observer.status_) observer.status_ = observer.take(*node);
  return observer.status_.has_value();  // false ends the evaluation
}

void Observer::list(const ggml_tensor& node) const {
  const auto found = stage_of(node);
  const std::string stage(found ? trace::stage_name(found->stage) : "-");
  std::printf("%s -> %s\n", printable(describe(node)).c_str(), stage.c_str());
}

Status Observer::take(ggml_tensor& node) {
  const auto found = stage_of(node);
  if (!found) return {};
  const trace::TensorId id{.seq = seq_, .ubatch = ubatch_, .layer = found->layer, .stage = found->stage};
  const auto shape = shape_of(node, id.stage, n_tokens_, n_keys_);
  if (!shape || !can_widen(node.type)) {
    return fail(ErrorCode::kEngine, id.name(), fmt::format("has the unexpected form {}", printable(describe(node))),
                fmt::format("{} tokens and {} keys were expected, as floating-point numbers", n_tokens_, n_keys_));
  }
  if (!seen_.insert(id).second) {
    return fail(ErrorCode::kEngine, id.name(), "stands twice in the compute graph: " + printable(describe(node)));
  }
  const auto width = static_cast<size_t>(id.stage == trace::Stage::kAttnScoresSoftmax ? n_keys_ : node.ne[0]);
  read_rows(node, width, values_);
  ++counts_[id.stage];
  TERN_RETURN_IF_ERROR(recorder_.record(id, *shape, values_));
  if (inputs_ == nullptr || !inputs_->take_over(id, *shape, std::span(values_))) return {};
  if (node.type != GGML_TYPE_F32 || node.nb[0] != sizeof(float)) {
    return fail(ErrorCode::kEngine, id.name(), "cannot be replaced by an input: " + printable(describe(node)));
  }
  write_rows(node, width, values_);
  return {};
}

}  // namespace tern::adapter
