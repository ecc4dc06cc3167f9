#include "tern/app/run_model.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <thread>
#include <utility>

#include "tern/app/build_facts.h"
#include "tern/app/opened_model.h"
#include "tern/app/oracle_engine.h"
#include "tern/app/own_engine.h"
#include "tern/arch/model_file.h"
#include "tern/base/environment.h"
#include "tern/base/file.h"
#include "tern/base/json.h"
#include "tern/base/stopwatch.h"
#include "tern/kernels/dispatch.h"
#include "tern/sweep/environment.h"
#include "tern/tokenizer/tokenizer.h"
#include "tern/trace/run_writer.h"

namespace tern::app {
namespace {

constexpr uint64_t kMaxPromptBytes = uint64_t{64} << 20;
constexpr uint64_t kDefaultSeed = 42;

Result<int> n_threads(const RunModelOptions& options) {
  const char* option = options.threads.empty() ? nullptr : options.threads.c_str();
  const char* variable = environment_variable("RAYON_NUM_THREADS");
  if (option == nullptr && variable == nullptr) {
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }
  return sweep::thread_count(option, variable);
}

Result<engine::Sampling> sampling(const RunModelOptions& options) {
  engine::Sampling result{.temperature = options.greedy ? 0 : options.temperature, .seed = kDefaultSeed};
  const char* variable = environment_variable("BITNET_SEED");
  if (options.seed) {
    result.seed = *options.seed;
  } else if (variable != nullptr) {
    const std::string_view text = variable;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result.seed);
    if (error != std::errc() || end != text.data() + text.size()) {
      return fail(ErrorCode::kUsage, "BITNET_SEED=" + printable(text), "is no number from 0 to 2^64 - 1");
    }
  }
  const char* deterministic = environment_variable("BITNET_DETERMINISTIC");
  if (deterministic != nullptr && std::string_view(deterministic) != "0" && result.temperature != 0) {
    spdlog::warn("BITNET_DETERMINISTIC is set: temperature 0 instead of {}", result.temperature);
    result.temperature = 0;
  }
  return result;
}

// Everything that stands between text and ids. A model can be run on ids alone, without any tokenizer.
struct Words {
  std::optional<tokenizer::Tokenizer> tokenizer;
  std::vector<int32_t> end_ids;
};

void add_end_ids(const tokenizer::Tokenizer& tokenizer, Words& words) {
  const auto ids = tokenizer.end_of_text();
  words.end_ids.insert(words.end_ids.end(), ids.begin(), ids.end());
}

Result<Words> open_words(const RunModelOptions& options, const gguf::View& view) {
  Words words;
  auto own = tokenizer::Tokenizer::from_gguf(view);
  if (own) {
    add_end_ids(*own, words);
  }
  if (!options.tokenizer.empty()) {
    TERN_ASSIGN_OR_RETURN(words.tokenizer, tokenizer::Tokenizer::open(options.tokenizer));
    TERN_RETURN_IF_ERROR(check_vocabulary(*words.tokenizer, options.tokenizer, view));
    add_end_ids(*words.tokenizer, words);
    if (own) {
      for (const std::string& sentence : tokenizer::disagreements(*words.tokenizer, *own)) spdlog::warn("{}", sentence);
    }
  } else if (own) {
    words.tokenizer = std::move(*own);
  } else if (options.has_token_ids) {
    spdlog::warn("the generated tokens are not shown as text: {}", own.error().line());
  } else {
    return tl::unexpected(std::move(own).error());
  }
  if (words.tokenizer) {
    for (const std::string& sentence : words.tokenizer->warnings()) spdlog::warn("{}", sentence);
  }
  return words;
}

Result<std::string> prompt_text(const RunModelOptions& options) {
  return options.prompt_file.empty() ? Result<std::string>(options.prompt)
                                     : read_file(options.prompt_file, kMaxPromptBytes);
}

trace::RunFiles run_files(const RunModelOptions& options, const arch::Numbers& model, size_t n_prompt) {
  trace::RunFiles files;
  if (!options.out.empty()) {
    files.run_folder = options.out;
  }
  if (const char* folder = environment_variable("BITNET_TRACE_DIR")) {
    files.trace_folder = folder;
  }
  files.trace = !options.no_observe;
  files.form = options.trace_list ? trace::TraceForm::kList : trace::TraceForm::kFiles;
  files.dump_tensors = options.dump_tensors;
  if (options.around) {
    files.around.emplace(*options.around, static_cast<int>(model.n_layers));
    files.logits = options.runs() != RunEngine::kOracle || files.around->has_head();
  }
  files.n_vocab = model.n_vocab;
  const uint64_t n_stages = trace::kStageTable.size();
  const uint64_t n_ubatches = n_prompt / static_cast<uint64_t>(options.tokens_at_once()) + 1;
  files.max_tensors =
      n_stages * static_cast<uint64_t>(model.n_layers) * (n_ubatches + static_cast<uint64_t>(options.max_tokens));
  return files;
}

// Tokens may end in the middle of a character; what is printed and written is UTF-8 all the same.
Result<std::string> with_invalid_utf8_replaced(const std::string& text) {
  TERN_ASSIGN_OR_RETURN(const Json json, parse_json(to_json_line(text), "text"));
  return json.get<std::string>();
}

void log_speed(const trace::RunResult& result) {
  const auto n_steps = static_cast<double>(result.generated_tokens.size()) - 1;
  spdlog::info("{}: loaded in {:.3f} s, {} prompt tokens in {:.3f} s, {} decode steps in {:.3f} s{}", result.engine,
               result.load_s.value_or(0), result.prompt_tokens.size(), result.prefill_s.value_or(0), n_steps,
               result.decode_s.value_or(0),
               n_steps > 0 ? fmt::format(" ({:.1f} tokens/s)", n_steps / result.decode_s.value_or(0)) : std::string());
}

Status check_oracle_usage(const RunModelOptions& options) {
  const bool oracle = options.runs() == RunEngine::kOracle;
  const std::pair<const char*, bool> oracles[] = {{"--significant-bits", options.significant_bits != 0},
                                                  {"--fault", !options.fault.empty()},
                                                  {"--arithmetic", options.oracle_arithmetic != "double"}};
  for (const auto& [name, given] : oracles) {
    if (given && !oracle) {
      return fail(ErrorCode::kUsage, name, "is an option of --engine oracle");
    }
  }
  if (options.oracle_arithmetic != "double" && (options.significant_bits != 0 || !options.fault.empty())) {
    return fail(ErrorCode::kUsage, "--arithmetic", "does not go with --significant-bits and --fault");
  }
  if (options.significant_bits != 0 && (options.significant_bits < 8 || options.significant_bits > 52)) {
    return fail(ErrorCode::kUsage, "--significant-bits", "must be 8 to 52, or 0 for plain double precision");
  }
  return {};
}

Status check_usage(const RunModelOptions& options) {
  TERN_RETURN_IF_ERROR(check_oracle_usage(options));
  if (options.has_prompt + !options.prompt_file.empty() + options.has_token_ids != 1) {
    return fail(ErrorCode::kUsage, "tern run", "needs exactly one of --prompt, --prompt-file and --token-ids");
  }
  if (options.dump_tensors && options.out.empty() && environment_variable("BITNET_TRACE_DIR") == nullptr) {
    return fail(ErrorCode::kUsage, "--dump-tensors", "needs --out DIR or BITNET_TRACE_DIR to write to");
  }
  if (options.dump_tensors && options.no_observe) {
    return fail(ErrorCode::kUsage, "--dump-tensors", "needs the tensors that --no-observe leaves alone");
  }
  if (options.around && !options.dump_tensors) {
    return fail(ErrorCode::kUsage, "--around", "says which tensors --dump-tensors keeps, which is missing");
  }
  if (options.inputs_before && options.inputs_from.empty()) {
    return fail(ErrorCode::kUsage, "--inputs-before", "says which of --inputs-from are taken, which is missing");
  }
  if (options.around && options.runs() == RunEngine::kOracle && options.inputs_from.empty()) {
    return fail(ErrorCode::kUsage, "--around", "needs --inputs-from where the oracle computes nothing else");
  }
  if (options.teacher.size() > static_cast<size_t>(options.max_tokens)) {
    return fail(ErrorCode::kUsage, "--teacher-tokens", "has more ids than --max-tokens");
  }
  if (!(options.temperature >= 0 && std::isfinite(options.temperature))) {
    return fail(ErrorCode::kUsage, "--temperature", "must be 0 or above");
  }
  return {};
}

OracleOptions oracle_options(const RunModelOptions& options, int n_threads) {
  return {.ubatch = options.tokens_at_once(),
          .significant_bits = options.significant_bits,
          .arithmetic = options.oracle_arithmetic,
          .around = options.around,
          .fault = options.fault,
          .n_threads = n_threads};
}

struct Prepared {
  gguf::View view;
  Words words;
  std::unique_ptr<engine::Session> session;  // null for the oracle, which opens the model by itself
  arch::Numbers numbers;
  engine::Limits limits;
  int n_threads = 1;
  trace::RunResult result;  // filled as far as it is known before anything runs
};

// A prompt that spells BOS gets a second one from the tokenizer. Both are evaluated, as the caller's text says.
void warn_of_doubled_bos(const tokenizer::Tokenizer& tokenizer, const RunModelOptions& options,
                         const trace::RunResult& result) {
  const auto bos = tokenizer.bos() ? tokenizer.bos() : tokenizer.declared_bos();
  const std::vector<int32_t>& ids = result.prompt_tokens;
  if (!bos || ids.size() < 2 || ids[0] != *bos || ids[1] != *bos) {
    return;
  }
  const std::string spelled = printable(std::string(tokenizer.token(*bos).value_or("")), 60);
  const bool by_tokenizer = !options.has_token_ids && !options.no_bos && tokenizer.bos();
  spdlog::warn("the prompt begins with BOS twice (id {}, {}){}; most models were not trained on that", *bos, spelled,
               by_tokenizer ? fmt::format(": the text spells it, and the tokenizer puts one in front; leave {} out of "
                                          "the text, or give --no-bos",
                                          spelled)
                            : "");
}

// `prepared` stays where it is: an engine refers to its view.
Status prepare(const RunModelOptions& options, Prepared& prepared) {
  const Stopwatch stopwatch;
  engine::SessionOptions session{.table = nullptr, .ubatch = options.tokens_at_once(), .n_ctx = options.n_ctx};
  TERN_ASSIGN_OR_RETURN(session.n_threads, n_threads(options));
  prepared.n_threads = session.n_threads;
  session.head_copy = options.head_copy;
  session.rounding =
      options.rounding == "fused" ? kernels::ActivationRounding::kFused : kernels::ActivationRounding::kProductFirst;
  TERN_ASSIGN_OR_RETURN(const arch::ModelFile file, arch::ModelFile::read(prepared.view));
  prepared.numbers = file.numbers();
  TERN_ASSIGN_OR_RETURN(prepared.limits, engine::Limits::of(prepared.view, prepared.numbers.n_vocab,
                                                            prepared.numbers.n_context, options.n_ctx));
  if (options.runs() == RunEngine::kTern) {
    TERN_ASSIGN_OR_RETURN(session.table, kernels::choose_table());
    TERN_ASSIGN_OR_RETURN(prepared.session, engine::Session::create(prepared.view, session));
  }
  TERN_ASSIGN_OR_RETURN(prepared.words, open_words(options, prepared.view));

  trace::RunResult& result = prepared.result;
  if (options.runs() == RunEngine::kOracle) {
    result.engine = oracle_engine_name(oracle_options(options, session.n_threads));
  } else {
    result.engine = fmt::format("tern {} ({})", version(), session.table->name);
    result.arithmetic = own_arithmetic(prepared.view, session.rounding);
  }
  result.max_tokens = options.max_tokens;
  result.teacher_tokens = options.teacher;
  result.prompt_tokens = options.token_ids;
  if (!options.has_token_ids) {
    TERN_ASSIGN_OR_RETURN(result.prompt, prompt_text(options));
    auto ids = prepared.words.tokenizer->encode(result.prompt, !options.no_bos);
    if (!ids) {
      Error error = std::move(ids).error();
      error.where = (options.prompt_file.empty() ? "--prompt" : options.prompt_file) + ": " + error.where;
      return tl::unexpected(std::move(error));
    }
    result.prompt_tokens = std::move(*ids);
  } else if (prepared.words.tokenizer) {
    TERN_RETURN_IF_ERROR(prepared.limits.check({.prompt = result.prompt_tokens}));
    TERN_RETURN_IF_ERROR(prepared.words.tokenizer->decode(result.prompt_tokens));  // ids that the vocabulary has
  }
  result.prompt_is_text = !options.has_token_ids;
  if (prepared.words.tokenizer) {
    warn_of_doubled_bos(*prepared.words.tokenizer, options, result);
  }
  result.load_s = stopwatch.seconds();
  return {};
}

}  // namespace

std::vector<std::string> run_engine_names() { return {"tern", "oracle"}; }

Result<std::vector<int32_t>> parse_token_ids(const std::string& option, std::string_view text) {
  std::vector<int32_t> ids;
  for (size_t begin = 0; begin <= text.size();) {
    const std::string_view word = text.substr(begin, std::min(text.find(',', begin), text.size()) - begin);
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), ids.emplace_back());
    if (error != std::errc() || end != word.data() + word.size() || ids.back() < 0) {
      return fail(ErrorCode::kUsage, option, fmt::format("'{}' is no token id", printable(word, 100)),
                  "ids stand with commas between them: 1,2,3");
    }
    begin += word.size() + 1;
  }
  return ids;
}

Result<std::optional<trace::RunResult>> run_model(const RunModelOptions& options, const Interrupt& interrupt) {
  TERN_RETURN_IF_ERROR(check_usage(options));
  TERN_ASSIGN_OR_RETURN(const engine::Sampling how, sampling(options));
  TERN_ASSIGN_OR_RETURN(gguf::View view, gguf::View::open(options.model));
  Prepared prepared{.view = std::move(view),
                    .words = {},
                    .session = nullptr,
                    .numbers = {},
                    .limits = {},
                    .n_threads = 1,
                    .result = {}};
  TERN_RETURN_IF_ERROR(prepare(options, prepared));

  trace::RunResult& result = prepared.result;
  engine::GenerationRequest request{.prompt = result.prompt_tokens,
                                    .max_tokens = options.max_tokens,
                                    .sampling = how,
                                    .teacher = options.teacher,
                                    .interrupt = &interrupt};
  if (!options.ignore_eos) {
    request.end_ids = prepared.words.end_ids;
  }
  TERN_RETURN_IF_ERROR(prepared.limits.check(request));
  std::optional<trace::Inputs> inputs;
  if (!options.inputs_from.empty()) {
    TERN_ASSIGN_OR_RETURN(inputs, trace::Inputs::open(options.inputs_from, options.inputs_before));
    request.inputs = &*inputs;
  }
  TERN_ASSIGN_OR_RETURN(trace::RunWriter writer,
                        trace::RunWriter::begin(run_files(options, prepared.numbers, result.prompt_tokens.size())));
  request.recorder = writer.recorder();
  if (writer.wants_logits()) {
    request.on_logits = [&writer](std::span<const float> rows) { return writer.append_logits(rows); };
  }
  const Result<engine::Generation> generation =
      options.runs() == RunEngine::kOracle
          ? generate_with_oracle(prepared.view, oracle_options(options, prepared.n_threads), request)
          : prepared.session->generate(request);
  if (!generation && interrupt.signal() != 0) {
    return std::optional<trace::RunResult>();
  }
  TERN_RETURN_IF_ERROR(generation);
  if (generation->head_copy_s > 0) {
    spdlog::info("copied the head to int8 in {:.3f} s", generation->head_copy_s);
  }
  result.generated_tokens = generation->tokens;
  result.prefill_s = generation->prefill_s;
  result.decode_s = generation->decode_s;
  if (prepared.words.tokenizer) {
    TERN_ASSIGN_OR_RETURN(const std::string text, prepared.words.tokenizer->decode(result.generated_tokens));
    TERN_ASSIGN_OR_RETURN(result.text, with_invalid_utf8_replaced(text));
  }
  TERN_RETURN_IF_ERROR(writer.finish(result));
  log_speed(result);
  return std::optional(std::move(result));
}

}  // namespace tern::app
