// Generation with one model: prefill in pieces, then one token at a time. What `tern run` and `tern bench` call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tern/base/error.h"
#include "tern/base/interrupt.h"
#include "tern/base/thread_pool.h"
#include "tern/engine/sampler.h"
#include "tern/gguf/view.h"
#include "tern/kernels/table.h"
#include "tern/model/forward.h"
#include "tern/trace/recorder.h"

namespace tern::engine {

// Whether greedy steps whose logits are not requested go through model::GreedyHead: the same ids, fewer bytes read, for
// a copy of the head in memory. kWhenWorthIt: once a generation is long enough to win back the time of copying.
enum class HeadCopy { kNever, kWhenWorthIt, kAlways };

struct SessionOptions {
  const kernels::KernelTable* table = nullptr;  // from kernels::choose_table()
  int n_threads = 1;
  int64_t ubatch = 512;  // prompt tokens evaluated at once; bitnet.cpp's default. Changes bits, see docs/numerics.md
  int64_t n_ctx = 0;     // most positions a generation may use; 0: what the model was trained for
  kernels::ActivationRounding rounding = kernels::ActivationRounding::kProductFirst;
  // See model::Batch. False: the same tokens whether or not logits of other positions are asked for.
  bool head_as_single = false;
  HeadCopy head_copy = HeadCopy::kWhenWorthIt;
};

struct GenerationRequest {
  std::span<const int32_t> prompt = {};  // ids, BOS included where the model takes BOS
  int max_tokens = 1;
  Sampling sampling = {};
  std::span<const int32_t> end_ids = {};  // generation stops after one of these; empty: never before max_tokens
  // Fed in the decode steps in place of the tokens chosen, as far as they go, so that another engine's choices are
  // seen. An end token does not stop a generation that is taught.
  std::span<const int32_t> teacher = {};

  trace::Recorder* recorder = nullptr;    // gets every stage of every pass
  const trace::Inputs* inputs = nullptr;  // where set, each stage is computed from these (trace/inputs.h)
  // Where set, gets the logits of each prompt position and each decode step in order: [n, n_vocab] at a time.
  std::function<Status(std::span<const float> rows)> on_logits = nullptr;
  // Where set, asked before each pass; a signal ends the generation with an error.
  const Interrupt* interrupt = nullptr;
};

// N tokens take one prefill and N - 1 decode steps: the last token is not fed back.
struct Generation {
  std::vector<int32_t> tokens;
  double prefill_s = 0;    // until the first token is chosen
  double head_copy_s = 0;  // between the two, of copying the head: once in a session's life
  double decode_s = 0;     // of all decode steps
  bool ended = false;      // by an end token
};

// The limits that every engine checks a request against before anything runs.
struct Limits {
  std::string model;  // how errors call it
  int64_t n_vocab = 0;
  int64_t n_ctx = 0;  // most positions of a generation

  // `asked`: SessionOptions::n_ctx. Errors: kInvalidInput for more positions than the model was made for.
  static Result<Limits> of(const gguf::View& view, int64_t n_vocab, int64_t n_ctx_train, int64_t asked);
  // Errors: kInvalidInput: no prompt, an id of it or of the teacher's that the model lacks, more positions than the
  // context has.
  Status check(const GenerationRequest& request) const;
};

// Whether a generation stops after this choice.
bool ends(const GenerationRequest& request, int32_t id);
// What decode step `step` (from 1) is fed, where the step before chose `chosen`.
int32_t fed(const GenerationRequest& request, int32_t chosen, int step);

class Session {
 public:
  // The view must outlive the session. Errors: kInvalidInput, for a model that tern cannot compute or an n_ctx beyond
  // the model's.
  static Result<std::unique_ptr<Session>> create(const gguf::View& view, const SessionOptions& options);

  const model::Hyperparameters& hyperparameters() const { return model_.h; }
  int64_t n_ctx() const { return limits_.n_ctx; }

  // What generate() would refuse: see Limits::check().
  Status check(const GenerationRequest& request) const { return limits_.check(request); }

  // Each call starts from an empty cache and depends on nothing but the request. Not thread-safe. Errors:
  // those of check(), before anything runs; those of the recorder and of on_logits; no memory for the cache; logits
  // that cannot be sampled from; an interrupt.
  Result<Generation> generate(const GenerationRequest& request);

 private:
  Session(const gguf::View& view, model::Model model, Limits limits, const SessionOptions& options);

  // Returns the seconds that it took, 0 where nothing was copied.
  Result<double> copy_head_where_useful(const GenerationRequest& request);
  Result<model::Output> prefill(model::KvCache& cache, const GenerationRequest& request);
  Result<model::Output> decode(model::KvCache& cache, const GenerationRequest& request, int32_t id, int step);
  Result<model::Output> evaluate(model::KvCache& cache, const GenerationRequest& request, const model::Batch& batch);

  const gguf::View& view_;
  model::Model model_;
  SessionOptions options_;
  Limits limits_;
  ThreadPool pool_;
  model::Forward forward_;
  bool head_copy_tried_ = false;
  std::unique_ptr<model::GreedyHead> greedy_head_;  // null until it is useful, or where the head has no bounds
};

}  // namespace tern::engine
