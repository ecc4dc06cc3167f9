#include "tern/app/opened_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tern/app/known_graph.h"
#include "tern/arch/model_file.h"
#include "tern/base/hash.h"
#include "tern/model/forward.h"
#include "tern/oracle/oracle.h"
#include "tern/quant/format.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

Status check_exists(const fs::path& path, const char* what) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    return fail(ErrorCode::kIo, fmt::format("{} not found", what), path.string());
  }
  return {};
}

std::string string_or_empty(const gguf::View& view, std::string_view key) {
  const auto value = view.get_string(key);
  return value ? std::string(*value) : std::string();
}

// The type that most of the layers' weights have.
std::optional<uint32_t> main_type(const gguf::View& view) {
  std::map<uint32_t, uint64_t> n_weights;
  for (const gguf::Tensor& tensor : view.tensors()) {
    if (tensor.name.starts_with("blk.")) {
      n_weights[tensor.type_id] += tensor.n_elements();
    }
  }
  const auto most = std::max_element(n_weights.begin(), n_weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == n_weights.end() ? std::nullopt : std::optional(most->first);
}

Result<outcome::ModelFacts> facts_of(const gguf::View& view, const fs::path& path) {
  outcome::ModelFacts facts;
  facts.path = path.string();
  TERN_ASSIGN_OR_RETURN(facts.sha256, sha256_of_file(path));
  facts.architecture = string_or_empty(view, "general.architecture");
  facts.graph_is_known = facts.architecture.empty() || !stages_of_graph(facts.architecture).empty();
  facts.name = string_or_empty(view, "general.name");
  if (const auto type = main_type(view)) {
    const quant::Format* format = view.format_of_type(*type);
    facts.quant_format = quant::type_name(*type);
    facts.quant_flavor = format == nullptr ? "" : format->layout;
  }
  facts.file_bytes = view.file_size();
  return facts;
}

}  // namespace

Status check_vocabulary(const tokenizer::Tokenizer& tokenizer, const fs::path& path, const gguf::View& view) {
  const gguf::Tensor* embedding = arch::embedding_table(view);
  if (embedding != nullptr && static_cast<uint64_t>(tokenizer.vocab_size()) > embedding->n_rows()) {
    return invalid_input(path.string(),
                         fmt::format("belongs to another vocabulary: it has {} token ids, the model embeddings for {}",
                                     tokenizer.vocab_size(), embedding->n_rows()));
  }
  if (!view.has("tokenizer.ggml.tokens")) {
    return {};
  }
  TERN_ASSIGN_OR_RETURN(const auto tokens, view.get_strings("tokenizer.ggml.tokens"));
  size_t n_shared = 0;
  size_t n_different = 0;
  for (int32_t id = 0; id < tokenizer.vocab_size() && static_cast<size_t>(id) < tokens.size(); ++id) {
    // All byte-level vocabularies share their single-byte tokens (1 or 2 bytes of UTF-8): those prove nothing.
    constexpr size_t kByteTokenSize = 2;
    if (const auto token = tokenizer.token(id); token && token->size() > kByteTokenSize) {
      ++n_shared;
      n_different += *token != tokens[static_cast<size_t>(id)] ? size_t{1} : size_t{0};
    }
  }
  constexpr size_t kOneIn = 10;
  if (n_different * kOneIn > n_shared) {
    return invalid_input(path.string(),
                         fmt::format("belongs to another vocabulary: {} of {} token ids are spelled differently in {}",
                                     n_different, n_shared, view.name()));
  }
  return {};
}

namespace {

Result<outcome::TokenizerFacts> facts_of(const tokenizer::Tokenizer& tokenizer, const fs::path& path,
                                         const gguf::View& view) {
  outcome::TokenizerFacts facts;
  facts.path = path.string();
  facts.sha256 = tokenizer.sha256();
  facts.kind = tokenizer.kind();
  facts.vocab_size = tokenizer.vocab_size();
  if (view.has("tokenizer.ggml.tokens")) {
    const auto own = tokenizer::Tokenizer::from_gguf(view);
    if (own) {
      facts.disagreements = tokenizer::disagreements(tokenizer, *own);
    } else {
      facts.disagreements = {"The GGUF's own vocabulary cannot be used: " + own.error().line()};
    }
  }
  return facts;
}

}  // namespace

namespace {

// The facts of a vocabulary that only engines can read.
Result<outcome::TokenizerFacts> facts_of_unread(const fs::path& path, const Error& why, const gguf::View& view) {
  outcome::TokenizerFacts facts;
  facts.path = path.string();
  TERN_ASSIGN_OR_RETURN(facts.sha256, sha256_of_file(path));
  facts.kind = "gguf";
  if (const auto tokens = view.get_strings("tokenizer.ggml.tokens")) {
    facts.vocab_size = static_cast<int64_t>(tokens->size());
  }
  facts.disagreements = {"The engines tokenize prompts themselves, since tern cannot read the vocabulary: " +
                         why.line()};
  return facts;
}

}  // namespace

Result<OpenedModel> open_model_and_tokenizer(const fs::path& model, const fs::path& tokenizer, Tokenized tokenized) {
  TERN_RETURN_IF_ERROR(check_exists(model, "Model"));
  TERN_RETURN_IF_ERROR(check_exists(tokenizer, "Tokenizer"));
  TERN_ASSIGN_OR_RETURN(gguf::View view, gguf::View::open(model));
  auto words = tokenizer::Tokenizer::open(tokenizer);
  std::error_code error;
  const bool may_be_absent = tokenized == Tokenized::kOrByTheEngines && fs::equivalent(model, tokenizer, error);
  if (!words && !may_be_absent) {
    return tl::unexpected(words.error());
  }
  if (words) {
    TERN_RETURN_IF_ERROR(check_vocabulary(*words, tokenizer, view));
  }
  TERN_ASSIGN_OR_RETURN(outcome::TokenizerFacts tokenizer_facts,
                        words ? facts_of(*words, tokenizer, view) : facts_of_unread(tokenizer, words.error(), view));
  TERN_ASSIGN_OR_RETURN(outcome::ModelFacts model_facts, facts_of(view, model));
  return OpenedModel{std::move(view), words ? std::optional(std::move(*words)) : std::nullopt, std::move(model_facts),
                     std::move(tokenizer_facts)};
}

std::string tokenizer_for(const std::string& model, const std::string& tokenizer) {
  if (!tokenizer.empty()) {
    return tokenizer;
  }
  const fs::path beside = fs::path(model).parent_path() / "tokenizer.json";
  std::error_code error;
  return fs::exists(beside, error) ? beside.string() : model;
}

peer::Subject subject_of(const fs::path& model, const OpenedModel& opened) {
  return {model, opened.model_facts.sha256, opened.tokenizer_facts.sha256, opened.tokenizer_facts.kind != "gguf"};
}

Result<std::vector<int32_t>> prompt_ids(const tokenizer::Tokenizer& tokenizer, const std::string& prompt,
                                        const std::vector<int32_t>& token_ids) {
  return token_ids.empty() ? tokenizer.encode(prompt, true) : Result<std::vector<int32_t>>(token_ids);
}

Result<size_t> count_prompt_ids(const OpenedModel& opened, const std::string& prompt,
                                const std::vector<int32_t>& token_ids) {
  if (!opened.tokenizer && token_ids.empty()) {
    return prompt.size() + 1;
  }
  TERN_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                        opened.tokenizer ? prompt_ids(*opened.tokenizer, prompt, token_ids) : token_ids);
  return ids.size();
}

Status check_computable(const gguf::View& view) {
  TERN_RETURN_IF_ERROR(model::Model::load(view));
  return {};
}

Status check_oracle_can_compute(const gguf::View& view) {
  TERN_RETURN_IF_ERROR(oracle::Oracle::load(view));
  return {};
}

}  // namespace tern::app
