#include "tern/engine/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "tern/base/check.h"
#include "tern/base/stopwatch.h"

namespace tern::engine {
namespace {

// Copying the head takes as long as it saves in 50 steps or so, most of it for the kernel to clear the new memory.
constexpr int kTokensWorthACopy = 64;

model::WantedLogits wanted_of_last_token(const GenerationRequest& request) {
  const bool only_the_best = request.sampling.temperature == 0 && !request.on_logits;
  return only_the_best ? model::WantedLogits::kBestOfLastToken : model::WantedLogits::kLastToken;
}

}  // namespace

bool ends(const GenerationRequest& request, int32_t id) {
  return request.teacher.empty() &&
         std::find(request.end_ids.begin(), request.end_ids.end(), id) != request.end_ids.end();
}

int32_t fed(const GenerationRequest& request, int32_t chosen, int step) {
  const auto i = static_cast<size_t>(step) - 1;
  return i < request.teacher.size() ? request.teacher[i] : chosen;
}

Session::Session(const gguf::View& view, model::Model model, Limits limits, const SessionOptions& options)
    : view_(view),
      model_(std::move(model)),
      options_(options),
      limits_(std::move(limits)),
      pool_(options.n_threads),
      forward_(model_, *options.table, pool_, options.rounding) {}

Result<std::unique_ptr<Session>> Session::create(const gguf::View& view, const SessionOptions& options) {
  TERN_CHECK(options.table != nullptr && options.n_threads >= 1 && options.ubatch >= 1 && options.n_ctx >= 0);
  TERN_ASSIGN_OR_RETURN(model::Model model, model::Model::load(view));
  TERN_ASSIGN_OR_RETURN(Limits limits, Limits::of(view, model.h.n_vocab, model.h.n_ctx_train, options.n_ctx));
  view.map_pages();
  return std::unique_ptr<Session>(new Session(view, std::move(model), std::move(limits), options));
}

Result<Limits> Limits::of(const gguf::View& view, int64_t n_vocab, int64_t n_ctx_train, int64_t asked) {
  if (asked > n_ctx_train) {
    return invalid_input(view.name(), fmt::format("was made for {} positions, {} are asked for", n_ctx_train, asked));
  }
  return Limits{view.name(), n_vocab, asked == 0 ? n_ctx_train : asked};
}

Status Limits::check(const GenerationRequest& request) const {
  TERN_CHECK(request.max_tokens >= 1);
  if (request.prompt.empty()) {
    return invalid_input("prompt", "has no tokens", "give a text, or a tokenizer that adds a BOS token");
  }
  for (const auto& [name, ids] : {std::pair("prompt", request.prompt), {"teacher tokens", request.teacher}}) {
    const auto outside = std::find_if(ids.begin(), ids.end(), [&](int32_t id) { return id < 0 || id >= n_vocab; });
    if (outside != ids.end()) {
      return invalid_input(name,
                           fmt::format("token {} of the {} has id {}, but {} has ids 0 to {} only",
                                       outside - ids.begin(), name, *outside, model, n_vocab - 1),
                           "were these ids made for another model?");
    }
  }
  const auto n_prompt = static_cast<int64_t>(request.prompt.size());
  if (n_prompt + request.max_tokens - 1 > n_ctx) {
    return invalid_input(
        model,
        fmt::format("{} prompt tokens and {} generated ones "
                    "do not fit the context of {} positions",
                    n_prompt, request.max_tokens, n_ctx),
        n_prompt > n_ctx ? "shorten the prompt" : fmt::format("ask for at most {} tokens", n_ctx - n_prompt + 1));
  }
  return {};
}

Result<Generation> Session::generate(const GenerationRequest& request) {
  TERN_RETURN_IF_ERROR(check(request));
  const auto n_prompt = static_cast<int64_t>(request.prompt.size());
  TERN_ASSIGN_OR_RETURN(model::KvCache cache, model::KvCache::create(model_.h, n_prompt + request.max_tokens - 1));

  Sampler sampler(request.sampling);
  const auto choose = [&](const model::Output& output) -> Result<int32_t> {
    return output.best >= 0 ? output.best : sampler.next(output.logits);
  };
  Generation generation;
  Stopwatch stopwatch;
  TERN_ASSIGN_OR_RETURN(model::Output output, prefill(cache, request));
  for (int step = 1;; ++step) {
    TERN_ASSIGN_OR_RETURN(const int32_t id, choose(output));
    if (step == 1) {
      generation.prefill_s = stopwatch.seconds();
      stopwatch = Stopwatch();
    }
    generation.tokens.push_back(id);
    generation.ended = ends(request, id);
    if (generation.ended || step == request.max_tokens) {
      break;
    }
    if (step == 1) {
      TERN_ASSIGN_OR_RETURN(generation.head_copy_s, copy_head_where_useful(request));
      stopwatch = Stopwatch();
    }
    TERN_ASSIGN_OR_RETURN(output, decode(cache, request, fed(request, id, step), step));
  }
  generation.decode_s = stopwatch.seconds();
  return generation;
}

Result<double> Session::copy_head_where_useful(const GenerationRequest& request) {
  const bool useful = request.max_tokens >= kTokensWorthACopy || options_.head_copy == HeadCopy::kAlways;
  if (head_copy_tried_ || !useful || options_.head_copy == HeadCopy::kNever ||
      wanted_of_last_token(request) != model::WantedLogits::kBestOfLastToken || request.recorder != nullptr) {
    return 0.0;
  }
  const Stopwatch stopwatch;
  head_copy_tried_ = true;
  // The float16 rows are hardly read again, so their pages go: in all, memory becomes less, not more.
  TERN_ASSIGN_OR_RETURN(greedy_head_,
                        model::GreedyHead::copy(model_.weights.head, *options_.table, pool_,
                                                [this](std::span<const std::byte> part) { view_.drop_pages(part); }));
  forward_.set_greedy_head(greedy_head_.get());
  return stopwatch.seconds();
}

Result<model::Output> Session::prefill(model::KvCache& cache, const GenerationRequest& request) {
  const size_t ubatch = static_cast<size_t>(options_.ubatch);
  model::Output output;
  int index = 0;
  for (size_t begin = 0; begin < request.prompt.size(); begin += ubatch, ++index) {
    const auto tokens = request.prompt.subspan(begin, std::min(ubatch, request.prompt.size() - begin));
    const bool last = begin + tokens.size() == request.prompt.size();
    const auto wanted = last ? wanted_of_last_token(request) : model::WantedLogits::kNone;
    TERN_ASSIGN_OR_RETURN(output, evaluate(cache, request,
                                           {.tokens = tokens,
                                            .position = static_cast<int64_t>(begin),
                                            .logits = request.on_logits ? model::WantedLogits::kAllTokens : wanted,
                                            .head_as_single = options_.head_as_single,
                                            .recorder = request.recorder,
                                            .inputs = request.inputs,
                                            .seq = 0,
                                            .ubatch = index,
                                            .interrupt = request.interrupt}));
  }
  return output;
}

Result<model::Output> Session::decode(model::KvCache& cache, const GenerationRequest& request, int32_t id, int step) {
  return evaluate(cache, request,
                  {.tokens = std::span(&id, 1),
                   .position = static_cast<int64_t>(request.prompt.size()) + step - 1,
                   .logits = wanted_of_last_token(request),
                   .recorder = request.recorder,
                   .inputs = request.inputs,
                   .seq = step,
                   .interrupt = request.interrupt});
}

// What on_logits gets, and of that the last row for choosing the next token.
Result<model::Output> Session::evaluate(model::KvCache& cache, const GenerationRequest& request,
                                        const model::Batch& batch) {
  TERN_ASSIGN_OR_RETURN(model::Output output, forward_.run(cache, batch));
  if (request.on_logits) {
    TERN_RETURN_IF_ERROR(request.on_logits(output.logits));
  }
  if (!output.logits.empty()) {
    output.logits = output.logits.last(static_cast<size_t>(model_.h.n_vocab));
  }
  return output;
}

}  // namespace tern::engine
