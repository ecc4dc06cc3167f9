#include "engine.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <thread>

#include "llama_api.h"
#include "settings.h"

namespace tern::adapter {

LibraryLog::LibraryLog(bool show) : show_(show) { llama_log_set(on_message, this); }
LibraryLog::~LibraryLog() { llama_log_set(nullptr, nullptr); }

void LibraryLog::on_message(ggml_log_level level, const char* text, void* self) {
  auto& log = *static_cast<LibraryLog*>(self);
  if (log.show_) std::fputs(text, stderr);
  if (level == GGML_LOG_LEVEL_ERROR && log.first_error_.empty()) {
    const std::string_view message = text;
    log.first_error_ = message.substr(0, message.find_last_not_of('\n') + 1);
  }
}

std::string LibraryLog::explain(const std::string& what) const {
  return first_error_.empty() ? what : what + ": " + printable(first_error_);
}

void Engine::FreeModel::operator()(llama_model* model) const { api::free_model(model); }

Result<Engine> Engine::load(const std::string& model, const LibraryLog& log) {
  if (!std::ifstream(model).good()) {
    return fail(ErrorCode::kIo, printable(model), "cannot be opened");
  }
  Engine engine(log);
  engine.model_.reset(api::load_model(model.c_str()));
  if (engine.model_ == nullptr) {
    return invalid_input(printable(model), log.explain("libllama does not load it"));
  }
  return engine;
}

int Engine::n_vocab() const { return api::n_vocab(api::vocabulary(model_.get())); }
int Engine::n_layer() const { return api::n_layer(model_.get()); }
int Engine::n_ctx_train() const { return api::n_ctx_train(model_.get()); }

std::string Engine::architecture() const {
  std::string text(64, '\0');
  const int32_t n = llama_model_meta_val_str(model_.get(), "general.architecture", text.data(), text.size());
  return n > 0 ? text.substr(0, static_cast<size_t>(n)) : std::string();
}

Result<std::vector<int32_t>> Engine::tokenize(const std::string& text) const {
  const auto vocabulary = api::vocabulary(model_.get());
  const auto length = static_cast<int32_t>(text.size());
  std::vector<int32_t> tokens(text.size() + 8);
  int32_t n = 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    n = llama_tokenize(vocabulary, text.data(), length, tokens.data(), static_cast<int32_t>(tokens.size()), true, true);
    if (n >= 0) break;
    tokens.resize(static_cast<size_t>(-static_cast<int64_t>(n)));  // that many are needed
  }
  if (n <= 0) {
    return fail(ErrorCode::kEngine, "--prompt", log_->explain("libllama's tokenizer gives no tokens"));
  }
  tokens.resize(static_cast<size_t>(n));
  return tokens;
}

std::string Engine::text_of(std::span<const int32_t> tokens) const {
  const auto vocabulary = api::vocabulary(model_.get());
  std::string text;
  for (const int32_t token : tokens) {
    std::string piece(64, '\0');
    int32_t n = 0;
    for (int attempt = 0; attempt < 2; ++attempt) {
      n = llama_token_to_piece(vocabulary, token, piece.data(), static_cast<int32_t>(piece.size()), 0, false);
      if (n >= 0) break;
      piece.resize(static_cast<size_t>(-static_cast<int64_t>(n)));
    }
    text += piece.substr(0, static_cast<size_t>(std::max(n, 0)));
  }
  return text;
}

Status Engine::open_context(const ContextOptions& options) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>((options.n_positions + 255) / 256 * 256);
  params.n_batch = params.n_ubatch = static_cast<uint32_t>(options.ubatch);
  // libllama's threads spin while they wait: more of them than cores make a run many times slower, and never change
  // a bit.
  const int n_cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  params.n_threads = params.n_threads_batch = std::min(options.threads, n_cores);
  api::keep_on_cpu(params);
  TERN_RETURN_IF_ERROR(apply_settings(options.settings, params));
  if (options.watcher != nullptr) {
    params.cb_eval = NodeWatcher::on_node;
    params.cb_eval_user_data = options.watcher;
  }
  context_.reset(api::new_context(model_.get(), params));
  if (context_ == nullptr) {
    return fail(ErrorCode::kEngine, "libllama",
                log_->explain("gives no context with " + to_json_line(all_settings(options.settings))));
  }
  return {};
}

Status Engine::evaluate(std::span<const int32_t> tokens, int position) {
  llama_batch batch = llama_batch_init(static_cast<int32_t>(tokens.size()), 0, 1);
  batch.n_tokens = static_cast<int32_t>(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    batch.token[i] = tokens[i];
    batch.pos[i] = position + static_cast<int32_t>(i);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  const int32_t outcome = llama_decode(context_.get(), batch);
  llama_batch_free(batch);
  if (outcome != 0) {
    return fail(ErrorCode::kEngine, "position " + std::to_string(position),
                log_->explain("llama_decode returns " + std::to_string(outcome)));
  }
  return {};
}

Result<std::span<const float>> Engine::logits(int i) const {
  const float* row = llama_get_logits_ith(context_.get(), i);
  if (row == nullptr) {
    return fail(ErrorCode::kEngine, "libllama", log_->explain("has no logits of token " + std::to_string(i)));
  }
  return std::span<const float>(row, static_cast<size_t>(n_vocab()));
}

}  // namespace tern::adapter
