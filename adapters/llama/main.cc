// tern-llama-adapter: runs one prompt with libllama and writes what it computed as tern's engine contract
// (docs/trace-format.md). It makes bitnet.cpp, llama.cpp and relatives engines that tern can hold its own against.
//
// It is not part of tern's build, because it belongs to the user's library: `tern reference build` compiles it, once
// per tree, against the headers and libraries found there, as manifest.json says. By hand, after tern itself was built
// in BUILD (which writes options.rsp and libraries.rsp; see ../CMakeLists.txt):
//
//   c++ @BUILD/adapters/options.rsp -std=c++20 -O1 adapters/llama/*.cc -I TREE/include -I TREE/ggml/include
//       @BUILD/adapters/libraries.rsp -Wl,--no-as-needed LIB/libllama.so LIB/libggml.so LIB/libggml-base.so
//       -Wl,-rpath,LIB -o tern-llama-adapter
//
// where TREE is llama.cpp's source (in bitnet.cpp: 3rdparty/llama.cpp) and LIB the folder of its shared libraries.
// Those of 2024 have no libggml-base.so, and bitnet.cpp keeps its two in two folders: build/3rdparty/llama.cpp/src and
// build/3rdparty/llama.cpp/ggml/src. Headers and libraries must be of one version: nothing can check that for you.
#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine.h"
#include "library_facts.h"
#include "observer.h"
#include "options.h"
#include "settings.h"
#include "tern/arch/family.h"
#include "tern/base/file.h"
#include "tern/base/stopwatch.h"
#include "tern/trace/run_folder.h"
#include "tern/trace/run_writer.h"

namespace tern::adapter {
namespace {

Result<std::vector<int32_t>> prompt_tokens(const Options& options, const Engine& engine) {
  std::vector<int32_t> tokens = options.token_ids;
  if (options.has_prompt) {
    TERN_ASSIGN_OR_RETURN(tokens, engine.tokenize(options.prompt));
  }
  for (const auto& [name, ids] :
       {std::pair("--token-ids", &options.token_ids), {"--teacher-tokens", &options.teacher}}) {
    for (const int32_t id : *ids) {
      if (id >= engine.n_vocab()) {
        return fail(ErrorCode::kUsage, name,
                    "id " + std::to_string(id) + " is none of the model's " + std::to_string(engine.n_vocab()));
      }
    }
  }
  return tokens;
}

Status check_length(const Options& options, const Engine& engine, size_t n_prompt) {
  const int limit = options.ctx > 0 ? options.ctx : engine.n_ctx_train();
  if (options.ctx > engine.n_ctx_train()) {
    return invalid_input(printable(options.model), "was made for " + std::to_string(engine.n_ctx_train()) +
                                                       " positions, --ctx asks for " + std::to_string(options.ctx));
  }
  const size_t n_positions = n_prompt + static_cast<size_t>(options.max_tokens) - 1;
  if (n_positions > static_cast<size_t>(limit)) {
    return invalid_input(printable(options.model),
                         std::to_string(n_prompt) + " prompt tokens and " + std::to_string(options.max_tokens) +
                             " new ones do not fit into " + std::to_string(limit) + " positions");
  }
  return {};
}

// The passes of one generation: prefill in ubatches, then a token at a time.
class Generation {
 public:
  Generation(const Options& options, Engine& engine, Observer* observer, trace::RunWriter& files)
      : options_(options), engine_(engine), observer_(observer), files_(files) {}

  Status run(std::span<const int32_t> prompt, trace::RunResult& result) {
    const Stopwatch prefill;
    const size_t chunk = options_.token_by_token ? 1 : static_cast<size_t>(options_.ubatch);
    for (int ubatch = 0; !prompt.empty(); ++ubatch) {
      const auto tokens = prompt.first(std::min(chunk, prompt.size()));
      TERN_RETURN_IF_ERROR(pass(0, ubatch, tokens));
      prompt = prompt.subspan(tokens.size());
    }
    result.prefill_s = prefill.seconds();
    const Stopwatch decode;
    for (int step = 1; step < options_.max_tokens; ++step) {
      result.generated_tokens.push_back(choice_);
      const size_t i = result.generated_tokens.size() - 1;
      const int32_t fed = i < options_.teacher.size() ? options_.teacher[i] : choice_;
      TERN_RETURN_IF_ERROR(pass(step, 0, std::span(&fed, 1)));
    }
    result.generated_tokens.push_back(choice_);
    result.decode_s = decode.seconds();
    return {};
  }

 private:
  Status pass(int seq, int ubatch, std::span<const int32_t> tokens) {
    const auto n_tokens = static_cast<int>(tokens.size());
    if (observer_ != nullptr) observer_->begin_pass(seq, ubatch, n_tokens, position_ + n_tokens);
    const Status evaluated = engine_.evaluate(tokens, position_);
    if (observer_ != nullptr) {
      TERN_RETURN_IF_ERROR(observer_->end_pass());  // first: its error is more precise than llama_decode's
    }
    TERN_RETURN_IF_ERROR(evaluated);
    position_ += n_tokens;
    for (int i = 0; i < n_tokens; ++i) {
      TERN_ASSIGN_OR_RETURN(const std::span<const float> row, engine_.logits(i));
      TERN_RETURN_IF_ERROR(files_.append_logits(row));
      choice_ = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());  // the first of equals
    }
    return {};
  }

  const Options& options_;
  Engine& engine_;
  Observer* observer_;
  trace::RunWriter& files_;
  int position_ = 0;
  int32_t choice_ = 0;  // the token that the last position's logits favour
};

Json result_json(const Options& options, const trace::RunResult& result, Json facts,
                 const std::optional<Observer>& observer) {
  Json json = trace::to_json(result);
  json["settings"] = {{"threads", options.threads},
                      {"ubatch", options.token_by_token ? 1 : options.ubatch},
                      {"observed", options.observe}};
  json["settings"].update(all_settings(options.settings));
  if (observer) {
    std::map<std::string, int> counts;  // a name may stand for two stages, one inside the layers and one outside
    int n_recorded = 0;
    for (const auto& [stage, n] : observer->counts()) {
      counts[std::string(stage.name())] += n;
      n_recorded += n;
    }
    json["stage_counts"] = counts;
    json["graph_nodes"] = {
        {"all", observer->n_nodes()}, {"without_own_values", observer->n_views()}, {"recorded", n_recorded}};
  }
  json["engine_facts"] = std::move(facts);
  return json;
}

void print_ids(const char* label, const std::vector<int32_t>& ids) {
  std::printf("%s: [", label);
  for (size_t i = 0; i < ids.size(); ++i) std::printf("%s%d", i > 0 ? ", " : "", ids[i]);
  std::printf("]\n");
}

uint64_t count_passes(const Options& options, size_t n_prompt) {
  const size_t chunk = options.token_by_token ? 1 : static_cast<size_t>(options.ubatch);
  return (n_prompt + chunk - 1) / chunk + static_cast<size_t>(options.max_tokens) - 1;
}

// The nodes of the prefill's graph and of a decode step's, in contexts that are thrown away. Returns the most records
// of one pass. Errors: kEngine.
Result<uint64_t> survey(const Options& options, ContextOptions context, std::span<const int32_t> prompt, Engine& engine,
                        NodeNames& names) {
  GraphSurvey graph(names);
  context.watcher = &graph;
  TERN_RETURN_IF_ERROR(engine.open_context(context));
  const size_t chunk = options.token_by_token ? 1 : static_cast<size_t>(options.ubatch);
  const auto first = prompt.first(std::min(chunk, prompt.size()));
  TERN_RETURN_IF_ERROR(engine.evaluate(first, 0));
  if (options.max_tokens > 1 && first.size() > 1) {
    TERN_RETURN_IF_ERROR(engine.evaluate(first.first(1), static_cast<int>(first.size())));
  }
  return graph.n_recordable();  // of both graphs, which is more than one has
}

std::string cpu_variant(const Options& options) {
  const auto set = options.settings.find("cpu_variant");
  return set == options.settings.end() ? std::string() : set->second;
}

// docs/cross-validation.md, "What an adapter says of itself"
Status print_facts(const Options& options) {
  const LibraryLog log(options.verbose);
  Json settings = known_settings(options.backends);
  TERN_RETURN_IF_ERROR(load_backends(options.backends, cpu_variant(options)));
  llama_context_params params = llama_context_default_params();
  TERN_RETURN_IF_ERROR(apply_settings(options.settings, params));
  llama_backend_init();
  TERN_ASSIGN_OR_RETURN(Json facts, library_facts());
  const Json json = {{"name", engine_name(options.engine, facts)},
                     {"arithmetic", options.arithmetic.empty() ? Json() : Json(options.arithmetic)},
                     {"level", "tensors"},
                     {"abilities", abilities()},
                     {"settings", std::move(settings)},
                     {"engine_facts", std::move(facts)}};
  std::printf("%s\n", to_json_line(json).c_str());
  return {};
}

std::optional<trace::Neighbourhood> neighbourhood(const Options& options, const Engine& engine) {
  const auto id = trace::TensorId::parse(options.around);
  return id ? std::optional(trace::Neighbourhood(*id, engine.n_layer())) : std::nullopt;
}

trace::RunFiles run_files(const Options& options, const Engine& engine, uint64_t max_tensors) {
  trace::RunFiles files{.run_folder = options.out};
  if (!options.trace_folder.empty()) files.trace_folder = options.trace_folder;
  files.form = options.trace_folder.empty() ? trace::TraceForm::kList : trace::TraceForm::kFiles;
  files.trace = options.observe;
  files.dump_tensors = options.dump_tensors;
  files.around = neighbourhood(options, engine);
  files.n_vocab = engine.n_vocab();
  files.max_tensors = max_tensors;
  return files;
}

Status run(const Options& options) {
  const LibraryLog log(options.verbose);
  TERN_RETURN_IF_ERROR(load_backends(options.backends, cpu_variant(options)));
  llama_backend_init();
  const Stopwatch load;
  TERN_ASSIGN_OR_RETURN(Engine engine, Engine::load(options.model, log));
  trace::RunResult result;
  result.load_s = load.seconds();
  TERN_ASSIGN_OR_RETURN(result.prompt_tokens, prompt_tokens(options, engine));
  TERN_RETURN_IF_ERROR(check_length(options, engine, result.prompt_tokens.size()));
  ContextOptions context{.n_positions = static_cast<int>(result.prompt_tokens.size()) + options.max_tokens,
                         .ubatch = options.ubatch,
                         .threads = options.threads,
                         .settings = options.settings};
  NodeNames names(arch::find_family(engine.architecture()) != nullptr);
  uint64_t tensors_of_pass = static_cast<uint64_t>(engine.n_layer() + 1) * trace::kStageTable.size();
  const bool all_stages = options.observe && options.stages == "all";
  if (all_stages) {
    TERN_ASSIGN_OR_RETURN(tensors_of_pass, survey(options, context, result.prompt_tokens, engine, names));
  }
  const uint64_t max_tensors = tensors_of_pass * count_passes(options, result.prompt_tokens.size());
  TERN_ASSIGN_OR_RETURN(trace::RunWriter files, trace::RunWriter::begin(run_files(options, engine, max_tensors)));
  std::optional<trace::Inputs> inputs;
  if (!options.inputs_from.empty()) {
    TERN_ASSIGN_OR_RETURN(inputs,
                          trace::Inputs::open(options.inputs_from, trace::TensorId::parse(options.inputs_before)));
  }
  std::optional<Observer> observer;
  if (files.recorder() != nullptr) {
    observer.emplace(*files.recorder(), inputs ? &*inputs : nullptr, all_stages ? &names : nullptr, options.list_nodes);
  }
  Observer* const watching = observer ? &*observer : nullptr;
  context.watcher = watching;
  TERN_RETURN_IF_ERROR(engine.open_context(context));
  TERN_RETURN_IF_ERROR(Generation(options, engine, watching, files).run(result.prompt_tokens, result));

  TERN_ASSIGN_OR_RETURN(Json facts, library_facts());
  result.engine = engine_name(options.engine, facts);
  result.arithmetic = options.arithmetic;
  result.prompt = options.prompt;
  result.prompt_is_text = options.has_prompt;
  result.max_tokens = options.max_tokens;
  result.teacher_tokens = options.teacher;
  result.text = engine.text_of(result.generated_tokens);
  TERN_RETURN_IF_ERROR(files.finish(result_json(options, result, std::move(facts), observer)));
  print_ids("Prompt tokens", result.prompt_tokens);
  print_ids("Generated tokens", result.generated_tokens);
  return {};
}

}  // namespace
}  // namespace tern::adapter

int main(int argc, char** argv) {
  const auto options = tern::adapter::parse_options({argv + 1, argv + argc});
  if (options && options->help) {
    std::fputs(tern::adapter::usage(), stdout);
    return 0;
  }
  if (!options) {
    std::fprintf(stderr, "%s\n", options.error().line().c_str());
    return tern::exit_code(options.error().code);
  }
  const tern::Status status = options->facts ? tern::adapter::print_facts(*options) : tern::adapter::run(*options);
  if (!status) {
    std::fprintf(stderr, "%s\n", status.error().line().c_str());
    return tern::exit_code(status.error().code);
  }
  return 0;
}
