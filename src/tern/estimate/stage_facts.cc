#include "tern/estimate/stage_facts.h"

#include <algorithm>
#include <cmath>

#include "tern/base/check.h"
#include "tern/compare/distance.h"

namespace tern::estimate {
namespace {

using trace::EngineRun;
using trace::Stage;
using trace::TensorId;
using trace::TraceRecord;

std::optional<Matrix> recorded(const EngineRun& run, const TensorId& id) {
  const auto* entry = run.values ? run.values->find(id.name()) : nullptr;
  return entry == nullptr ? std::nullopt : std::optional(matrix_of(entry->shape, entry->values));
}

// The record's values; those of logits may stand in a file of their own.
std::optional<Matrix> values_of(const EngineRun& run, const EngineRun& exact, const TraceRecord& record) {
  const auto rows = compare::first_rows(exact);
  const auto values = compare::Values(run, rows).of(record);
  return values ? std::optional(matrix_of(record.shape, *values)) : std::nullopt;
}

size_t n_tokens_of(const TraceRecord& record) {
  const bool per_head = record.id.stage == Stage::kAttnScoresSoftmax;
  return static_cast<size_t>(record.shape.size() > 1 && per_head ? record.shape[1] : record.shape[0]);
}

double float32_rounding(const Matrix& x) {
  double largest = 0;
  for (const double value : x.values) {
    largest = std::max(largest, std::abs(value));
  }
  return 8 * 0x1p-24 * largest;
}

}  // namespace

Matrix matrix_of(const trace::Shape& shape, std::span<const float> values) {
  const auto n_features = static_cast<size_t>(shape.empty() ? 1 : shape.back());
  Matrix matrix(n_features == 0 ? 0 : values.size() / n_features, n_features);
  std::copy_n(values.begin(), matrix.values.size(), matrix.values.begin());
  return matrix;
}

std::vector<std::pair<TensorId, size_t>> pieces_up_to(const EngineRun& run, const TensorId& id) {
  std::vector<std::pair<TensorId, size_t>> pieces;
  for (const TraceRecord& record : run.trace) {
    const TensorId& other = record.id;
    if (other.stage == id.stage && other.layer == id.layer && !(id < other) && !record.shape.empty()) {
      pieces.emplace_back(other, n_tokens_of(record));
    }
  }
  std::sort(pieces.begin(), pieces.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  return pieces;
}

std::vector<int32_t> tokens_of_piece(const trace::RunResult& result, int seq, size_t first, size_t n_tokens) {
  std::vector<int32_t> fed = result.prompt_tokens;
  if (seq > 0) {
    fed = result.generated_tokens;
    std::copy_n(result.teacher_tokens.begin(), std::min(fed.size(), result.teacher_tokens.size()), fed.begin());
    first = static_cast<size_t>(seq) - 1;
  }
  first = std::min(first, fed.size());
  const auto begin = fed.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(std::min(n_tokens, fed.size() - first))};
}

StageFacts::StageFacts(const EngineRun& side, const EngineRun& exact, const oracle::Steps& steps, const TensorId& id,
                       const EngineRun* before, const std::optional<TensorId>& known_before)
    : id_(id), steps_(&steps) {
  const TraceRecord* record = exact.find(id);
  TERN_CHECK(record != nullptr);
  auto should = values_of(exact, exact, *record);
  TERN_CHECK(should.has_value());
  should_ = std::move(*should);
  is_ = values_of(side, exact, *record);
  if (is_) {
    double sum = 0;
    for (const double value : is_->values) {
      sum += value * value;
    }
    rms_ = std::sqrt(sum / static_cast<double>(std::max<size_t>(is_->values.size(), 1)));
  } else if (const TraceRecord* theirs = side.find(id); theirs != nullptr && theirs->shape == record->shape) {
    rms_ = theirs->finite_rms();
  }
  pass_.pieces = pieces_up_to(exact, id);
  pass_.computed = [&side, &exact, before, known_before](const TensorId& wanted) {
    const bool is_known = before != nullptr && known_before && wanted < *known_before;
    auto values = recorded(side, wanted);
    values = values || !is_known ? values : recorded(*before, wanted);
    values = values ? values : recorded(exact, wanted);
    return values || before == nullptr ? values : recorded(*before, wanted);
  };
  pass_.tokens = tokens_of_piece(exact.result, id.seq, first_position(), n_tokens_of(*record));
  rounding_ = float32_rounding(should_);
}

StageFacts::StageFacts(const Pass& pass, const oracle::Steps& steps, const TensorId& id, Matrix should)
    : id_(id), steps_(&steps), pass_(pass), should_(std::move(should)) {
  rounding_ = float32_rounding(should_);
}

TensorId StageFacts::at(Stage stage) const {
  TensorId id = id_;
  id.stage = stage;
  const trace::StagePlace place = stage.row().place;
  id.layer = place == trace::StagePlace::kInLayer ? id_.layer : -1;
  return id;
}

std::optional<Matrix> StageFacts::input(Stage stage) const {
  const bool needs_layer = stage.row().place == trace::StagePlace::kInLayer;
  return needs_layer && id_.layer < 0 ? std::nullopt : pass_.computed(at(stage));
}

std::optional<Matrix> StageFacts::history(Stage stage) const {
  Matrix all;
  for (const auto& [piece, n_tokens] : pass_.pieces) {
    TensorId id = at(stage);
    id.seq = piece.seq;
    id.ubatch = piece.ubatch;
    const auto values = pass_.computed(id);
    if (!values || values->n_tokens != n_tokens || (all.n_tokens > 0 && values->n_features != all.n_features)) {
      return std::nullopt;
    }
    all.n_tokens += n_tokens;
    all.n_features = values->n_features;
    all.values.insert(all.values.end(), values->values.begin(), values->values.end());
  }
  return all.n_tokens == 0 ? std::nullopt : std::optional(std::move(all));
}

std::optional<Matrix> StageFacts::layer_input() const {
  TensorId id = at(Stage::kEmbeddings);
  const int before = id_.layer < 0 ? steps_->hyperparameters().n_layers - 1 : id_.layer - 1;
  if (before >= 0) {
    id.layer = before;
    id.stage = Stage::kOut;
  }
  return pass_.computed(id);
}

size_t StageFacts::first_position() const {
  size_t n = 0;
  for (size_t i = 0; i + 1 < pass_.pieces.size(); ++i) {
    n += pass_.pieces[i].second;
  }
  return n;
}

}  // namespace tern::estimate
