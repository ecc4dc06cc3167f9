#include "tern/model/forward.h"

#include <algorithm>

#include "tern/base/check.h"
#include "tern/kernels/rope_angles.h"
#include "tern/model/size.h"

namespace tern::model {
namespace {

using trace::Stage;

// Elements that one thread takes at a time in element-wise loops.
constexpr size_t kElementsInPiece = 16384;

}  // namespace

Result<Model> Model::load(const gguf::View& view) {
  Model model;
  TERN_ASSIGN_OR_RETURN(const arch::ModelFile file, arch::ModelFile::read(view));
  TERN_ASSIGN_OR_RETURN(model.h, hyperparameters_of(view, file));
  TERN_ASSIGN_OR_RETURN(model.weights, bind_weights(view, file, model.h));
  return model;
}

// Names what forward() computes, and puts another run's values in its place where there are any; does nothing where no
// recorder listens and there are no inputs.
struct Forward::Recording {
  const Batch& batch;

  Status operator()(Stage stage, int64_t layer, std::span<float> values, int64_t n_features) const {
    return record(stage, layer, {static_cast<int64_t>(batch.tokens.size()), n_features}, values);
  }
  Status record(Stage stage, int64_t layer, trace::Shape shape, std::span<float> values) const {
    if (batch.recorder == nullptr && batch.inputs == nullptr) {
      return {};
    }
    size_t n = 1;
    for (const int64_t dim : shape) n *= size(dim);
    const trace::TensorId id{
        .seq = batch.seq, .ubatch = batch.ubatch, .layer = static_cast<int>(layer), .stage = stage};
    if (batch.recorder != nullptr) {
      TERN_RETURN_IF_ERROR(batch.recorder->record(id, shape, values.first(n)));
    }
    if (batch.inputs != nullptr) {
      batch.inputs->take_over(id, shape, values.first(n));
    }
    return {};
  }
};

Forward::Forward(const Model& model, const kernels::KernelTable& table, ThreadPool& pool,
                 kernels::ActivationRounding rounding)
    : model_(model),
      h_(model.h),
      table_(table),
      pool_(pool),
      multiplier_(table, pool, rounding),
      attention_(model.h, table, pool) {}

Result<Output> Forward::run(KvCache& cache, const Batch& batch) {
  const auto n_tokens = static_cast<int64_t>(batch.tokens.size());
  TERN_CHECK(n_tokens > 0 && batch.position + n_tokens <= cache.n_ctx());
  const Recording recording{batch};
  resize(n_tokens);

  embed(batch.tokens);  // x_ [n_tokens, n_embd]
  TERN_RETURN_IF_ERROR(recording(Stage::kEmbeddings, -1, x_, h_.n_embd));
  for (int64_t t = 0; t < n_tokens; ++t) {
    const int64_t row = t * (h_.head_dim / 2);
    kernels::rope_angles(h_.rope_base, size(h_.head_dim), batch.position + t, cosine_.data() + row, sine_.data() + row);
  }
  for (int64_t layer = 0; layer < h_.n_layers; ++layer) {
    if (batch.interrupt != nullptr && batch.interrupt->signal() != 0) {
      return fail(ErrorCode::kEngine, "generation", "interrupted");
    }
    TERN_RETURN_IF_ERROR(attention_block(cache, batch, layer, recording));  // x_ += attention
    TERN_RETURN_IF_ERROR(feed_forward_block(batch, layer, recording));      // x_ += feed-forward
  }
  return head(batch, recording);
}

Status Forward::attention_block(KvCache& cache, const Batch& batch, int64_t layer, const Recording& recording) {
  const LayerWeights& w = model_.weights.layers[size(layer)];
  const auto n_tokens = static_cast<int64_t>(batch.tokens.size());
  const bool single = n_tokens == 1;

  norm(x_.data(), w.attn_norm, n_tokens, normed_.data());  // normed_ [n_tokens, n_embd]
  TERN_RETURN_IF_ERROR(recording(Stage::kAttnNorm, layer, normed_, h_.n_embd));

  // q_ [n_tokens, n_q], k_ and v_ [n_tokens, n_kv]
  multiplier_.multiply(normed_.data(), n_tokens, single, {{&w.q, q_.data()}, {&w.k, k_.data()}, {&w.v, v_.data()}});
  TERN_RETURN_IF_ERROR(recording(Stage::kQProj, layer, q_, h_.n_q()));
  rotate(q_.data(), n_tokens, h_.n_heads);
  TERN_RETURN_IF_ERROR(recording(Stage::kQRope, layer, q_, h_.n_q()));
  TERN_RETURN_IF_ERROR(recording(Stage::kKProj, layer, k_, h_.n_kv()));
  rotate(k_.data(), n_tokens, h_.n_kv_heads);
  TERN_RETURN_IF_ERROR(recording(Stage::kKRope, layer, k_, h_.n_kv()));
  TERN_RETURN_IF_ERROR(recording(Stage::kVProj, layer, v_, h_.n_kv()));
  attention_.store(cache, layer, batch.position, n_tokens, k_.data(), v_.data());

  // attn_ [n_tokens, n_q]; scores_ [n_heads, n_tokens, n_positions] where they are recorded
  const int64_t n_positions = batch.position + n_tokens;
  const bool wants_scores = batch.recorder != nullptr || batch.inputs != nullptr;
  if (wants_scores) {
    scores_.resize(size(h_.n_heads * n_tokens) * size(n_positions));
  }
  attention_.attend(cache, layer, batch.position, n_tokens, q_.data(), attn_.data(),
                    wants_scores ? scores_.data() : nullptr);
  TERN_RETURN_IF_ERROR(
      recording.record(Stage::kAttnScoresSoftmax, layer, {h_.n_heads, n_tokens, n_positions}, scores_));
  TERN_RETURN_IF_ERROR(recording(Stage::kAttnOut, layer, attn_, h_.n_q()));
  if (h_.sub_norms) {
    norm(attn_.data(), w.attn_sub_norm, n_tokens, attn_.data());
    TERN_RETURN_IF_ERROR(recording(Stage::kAttnSubNorm, layer, attn_, h_.n_q()));
  }
  multiplier_.multiply(attn_.data(), n_tokens, single, {{&w.o, o_.data()}});  // o_ [n_tokens, n_embd]
  TERN_RETURN_IF_ERROR(recording(Stage::kOProj, layer, o_, h_.n_embd));
  add(o_.data(), x_.data(), n_tokens * h_.n_embd, x_.data());
  return recording(Stage::kFfnInp, layer, x_, h_.n_embd);
}

Status Forward::feed_forward_block(const Batch& batch, int64_t layer, const Recording& recording) {
  const LayerWeights& w = model_.weights.layers[size(layer)];
  const auto n_tokens = static_cast<int64_t>(batch.tokens.size());
  const bool single = n_tokens == 1;

  norm(x_.data(), w.ffn_norm, n_tokens, normed_.data());  // normed_ [n_tokens, n_embd]
  TERN_RETURN_IF_ERROR(recording(Stage::kFfnNorm, layer, normed_, h_.n_embd));

  // gate_ and up_ [n_tokens, n_ff]
  multiplier_.multiply(normed_.data(), n_tokens, single, {{&w.gate, gate_.data()}, {&w.up, up_.data()}});
  TERN_RETURN_IF_ERROR(recording(Stage::kGateProj, layer, gate_, h_.n_ff));
  TERN_RETURN_IF_ERROR(recording(Stage::kUpProj, layer, up_, h_.n_ff));
  activate(n_tokens);  // gate_ = act(gate_) * up_
  TERN_RETURN_IF_ERROR(recording(Stage::kFfnAct, layer, gate_, h_.n_ff));
  if (h_.sub_norms) {
    norm(gate_.data(), w.ffn_sub_norm, n_tokens, gate_.data());
    TERN_RETURN_IF_ERROR(recording(Stage::kFfnSubNorm, layer, gate_, h_.n_ff));
  }
  multiplier_.multiply(gate_.data(), n_tokens, single, {{&w.down, o_.data()}});  // o_ [n_tokens, n_embd]
  TERN_RETURN_IF_ERROR(recording(Stage::kDownProj, layer, o_, h_.n_embd));
  add(o_.data(), x_.data(), n_tokens * h_.n_embd, x_.data());
  return recording(Stage::kOut, layer, x_, h_.n_embd);
}

Result<Output> Forward::head(const Batch& batch, const Recording& recording) {
  const auto n_tokens = static_cast<int64_t>(batch.tokens.size());
  // A trace holds every token's logits. With head_as_single only the last token's are computed.
  const bool all = batch.logits == WantedLogits::kAllTokens || (batch.recorder != nullptr && !batch.head_as_single);
  if (batch.logits == WantedLogits::kNone && !all) {
    return Output{};
  }
  const int64_t n_rows = all ? n_tokens : 1;
  norm(x_.data() + (n_tokens - n_rows) * h_.n_embd, model_.weights.output_norm, n_rows, normed_.data());
  const bool single = n_tokens == 1 || (!all && batch.head_as_single);
  const Matrix& head = model_.weights.head;
  if (batch.logits == WantedLogits::kBestOfLastToken && batch.recorder == nullptr && batch.inputs == nullptr &&
      greedy_head_ != nullptr) {
    if (const auto best = greedy_head_->best(normed_.data(), multiplier_.order(head.n_cols, single))) {
      return Output{.logits = {}, .best = *best};
    }
  }
  TERN_RETURN_IF_ERROR(recording.record(Stage::kOutputNorm, -1, {n_rows, h_.n_embd}, normed_));
  logits_.resize(size(n_rows * h_.n_vocab));
  multiplier_.multiply(normed_.data(), n_rows, single, {{&head, logits_.data()}});
  TERN_RETURN_IF_ERROR(recording.record(Stage::kLogits, -1, {n_rows, h_.n_vocab}, logits_));

  const std::span<const float> computed(logits_);
  const std::span<const float> last = computed.last(size(h_.n_vocab));
  switch (batch.logits) {
    case WantedLogits::kNone:
      return Output{};
    case WantedLogits::kBestOfLastToken:
      return Output{.logits = {}, .best = argmax(last)};
    case WantedLogits::kLastToken:
      return Output{.logits = last};
    case WantedLogits::kAllTokens:
      break;
  }
  return Output{.logits = computed};
}

void Forward::resize(int64_t n_tokens) {
  const auto grow = [n_tokens](AlignedVector<float>& buffer, int64_t width) {
    buffer.resize(std::max(buffer.size(), size(n_tokens * width)));
  };
  grow(x_, h_.n_embd);
  grow(normed_, h_.n_embd);
  grow(q_, h_.n_q());
  grow(k_, h_.n_kv());
  grow(v_, h_.n_kv());
  grow(attn_, h_.n_q());
  grow(o_, h_.n_embd);
  grow(gate_, h_.n_ff);
  grow(up_, h_.n_ff);
  grow(cosine_, h_.head_dim / 2);
  grow(sine_, h_.head_dim / 2);
}

void Forward::embed(std::span<const int32_t> tokens) {
  const Matrix& table = model_.weights.embedding;
  const size_t n_embd = size(h_.n_embd);
  for (size_t t = 0; t < tokens.size(); ++t) {
    TERN_CHECK(tokens[t] >= 0 && tokens[t] < h_.n_vocab);
    table.format->decode_row(table.row(size(tokens[t])), table.tail(), std::span(x_).subspan(t * n_embd, n_embd));
  }
}

void Forward::norm(const float* x, const std::vector<float>& weight, int64_t n_tokens, float* out) {
  const size_t n = weight.size();
  pool_.for_each_piece(size(n_tokens), 1, [&](size_t t, size_t, int) {
    table_.rms_norm(x + t * n, weight.data(), n, h_.rms_eps, out + t * n);
  });
}

void Forward::rotate(float* x, int64_t n_tokens, int64_t n_heads) {
  const size_t head_dim = size(h_.head_dim);
  const size_t n_pairs = head_dim / 2;
  pool_.for_each_piece(size(n_tokens), 1, [&](size_t t, size_t, int) {
    float* row = x + t * size(n_heads) * head_dim;
    for (size_t head = 0; head < size(n_heads); ++head) {
      table_.rope(h_.rope_pairs, cosine_.data() + t * n_pairs, sine_.data() + t * n_pairs, n_pairs,
                  row + head * head_dim);
    }
  });
}

void Forward::activate(int64_t n_tokens) {
  const auto times = h_.activation == Activation::kRelu2 ? table_.relu2_times : table_.silu_times;
  const size_t n_ff = size(h_.n_ff);
  pool_.for_each_piece(size(n_tokens), 1, [&](size_t t, size_t, int) {
    float* gate = gate_.data() + t * n_ff;
    times(gate, up_.data() + t * n_ff, n_ff, gate);
  });
}

void Forward::add(const float* a, const float* b, int64_t n, float* out) {
  pool_.for_each_piece(size(n), kElementsInPiece, [&](size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; ++i) out[i] = a[i] + b[i];
  });
}

}  // namespace tern::model
