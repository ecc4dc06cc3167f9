// libllama as this adapter uses it: one model on the CPU, one sequence, logits of every position.
#pragma once

#include <llama.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "observer.h"
#include "tern/base/error.h"

namespace tern::adapter {

// Receives libllama's messages until it is destroyed. Keeps the first error among them, which states the cause.
class LibraryLog {
 public:
  explicit LibraryLog(bool show);
  ~LibraryLog();
  LibraryLog(const LibraryLog&) = delete;
  LibraryLog& operator=(const LibraryLog&) = delete;

  // "what", and behind it what the library said, if it said anything.
  std::string explain(const std::string& what) const;

 private:
  static void on_message(ggml_log_level level, const char* text, void* self);

  bool show_;
  std::string first_error_;
};

struct ContextOptions {
  int n_positions = 0;
  int ubatch = 512;
  int threads = 1;
  std::map<std::string, std::string> settings = {};  // settings.h
  NodeWatcher* watcher = nullptr;                    // null: no evaluation callback
};

class Engine {
 public:
  // `log` must outlive the engine. Errors: kIo where there is no such file, kInvalidInput where libllama refuses it.
  static Result<Engine> load(const std::string& model, const LibraryLog& log);

  int n_vocab() const;
  int n_layer() const;
  int n_ctx_train() const;
  std::string architecture() const;  // general.architecture; empty where the file has none
  // With BOS, where the model requires it, and special tokens recognised. Errors: kEngine.
  Result<std::vector<int32_t>> tokenize(const std::string& text) const;
  // Bytes as they are: a token may end within a character.
  std::string text_of(std::span<const int32_t> tokens) const;

  // Errors: kUsage: a setting that the library does not have; kEngine: settings that it refuses together.
  Status open_context(const ContextOptions& options);
  // The tokens at `position` and the following ones, as one ubatch. Errors: kEngine; the observer's.
  Status evaluate(std::span<const int32_t> tokens, int position);
  // [n_vocab] of the i-th token of the last evaluate(); valid until the next.
  Result<std::span<const float>> logits(int i) const;

 private:
  struct FreeModel {
    void operator()(llama_model* model) const;
  };
  struct FreeContext {
    void operator()(llama_context* context) const { llama_free(context); }
  };
  explicit Engine(const LibraryLog& log) : log_(&log) {}

  const LibraryLog* log_;
  std::unique_ptr<llama_model, FreeModel> model_;
  std::unique_ptr<llama_context, FreeContext> context_;
};

}  // namespace tern::adapter
