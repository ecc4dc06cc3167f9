#include "tern/app/make_pack.h"

#include <fmt/format.h>

#include <filesystem>

#include "tern/base/file.h"
#include "tern/base/hash.h"
#include "tern/base/json.h"
#include "tern/gguf/view.h"
#include "tern/tokenizer/tokenizer.h"

namespace tern::app {
namespace fs = std::filesystem;
namespace {

// --arithmetic, or the facts' own key; empty: nothing is claimed, and comparisons hold to tolerances.
Result<std::string> arithmetic_from(const MakePackOptions& options, const Json& facts) {
  if (!options.arithmetic.empty() || !facts.contains("arithmetic")) {
    return options.arithmetic;
  }
  return json_string(facts, "arithmetic", options.engine_facts);
}

Status check_model(const trace::Pack& pack, const CheckPackOptions& options) {
  TERN_ASSIGN_OR_RETURN(const std::string sha256, sha256_of_file(options.model));
  if (sha256 != pack.model().sha256) {
    return invalid_input(options.folder,
                         fmt::format("the pack belongs to another model: it was recorded from {} (sha256 {}), "
                                     "this is {} (sha256 {})",
                                     pack.model().file_name, pack.model().sha256, options.model, sha256));
  }
  return {};
}

Status check_tokenizer(const trace::Pack& pack, const CheckPackOptions& options) {
  TERN_ASSIGN_OR_RETURN(const tokenizer::Tokenizer tokenizer, tokenizer::Tokenizer::open(options.tokenizer));
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    const std::string where = fmt::format("{}: {}", options.folder, scenario.name);
    if (scenario.prompt_tokens.empty() || scenario.prompt.empty()) {
      continue;  // the engine does not state its ids, or was given ids
    }
    TERN_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.encode(scenario.prompt, true));
    TERN_RETURN_IF_ERROR(trace::check_prompt_tokens(where, scenario.prompt_tokens, ids));
  }
  return {};
}

// Prompts that were given by token ids have no text to be found by.
Result<trace::EngineRun> read_recording(const trace::Pack& pack, const trace::PackScenario& scenario) {
  return scenario.prompt.empty() ? pack.find(scenario.prompt_tokens, scenario.max_tokens)
                                 : pack.find(scenario.prompt, scenario.max_tokens);
}

}  // namespace

Result<trace::Pack> make_pack(const MakePackOptions& options) {
  TERN_ASSIGN_OR_RETURN(const Json facts, read_json_file(options.engine_facts, uint64_t{1} << 20));
  TERN_RETURN_IF_ERROR(json_string(facts, "name", options.engine_facts));
  TERN_ASSIGN_OR_RETURN(const std::string arithmetic, arithmetic_from(options, facts));
  TERN_RETURN_IF_ERROR(gguf::View::open(options.model));
  trace::PackModel model;
  model.file_name = fs::path(options.model).filename();
  TERN_ASSIGN_OR_RETURN(model.sha256, sha256_of_file(options.model));
  if (!options.tokenizer.empty()) {
    TERN_ASSIGN_OR_RETURN(const tokenizer::Tokenizer tokenizer, tokenizer::Tokenizer::open(options.tokenizer));
    model.tokenizer_sha256 = tokenizer.sha256();
  }
  std::vector<fs::path> run_folders(options.run_folders.begin(), options.run_folders.end());
  return trace::Pack::create(options.out, model, arithmetic, facts, run_folders,
                             {options.top_logits, !options.no_values});
}

// Opening has checked every file; what remains is that each recording can be read, the model, and the tokens.
Result<std::string> check_pack(const CheckPackOptions& options) {
  TERN_ASSIGN_OR_RETURN(const trace::Pack pack, trace::Pack::open(options.folder));
  size_t n_tensors = 0;
  for (const trace::PackScenario& scenario : pack.scenarios()) {
    TERN_ASSIGN_OR_RETURN(const trace::EngineRun run, read_recording(pack, scenario));
    n_tensors += run.trace.size();
  }
  if (!options.model.empty()) {
    TERN_RETURN_IF_ERROR(check_model(pack, options));
  }
  if (!options.tokenizer.empty()) {
    TERN_RETURN_IF_ERROR(check_tokenizer(pack, options));
  }
  return fmt::format("ok: {} scenarios, {} traced tensors, id {}{}", pack.scenarios().size(), n_tensors, pack.id(),
                     options.model.empty() ? "" : ", recorded from this model");
}

}  // namespace tern::app
