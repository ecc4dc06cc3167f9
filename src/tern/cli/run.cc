#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <thread>

#include "tern/app/build_facts.h"
#include "tern/app/opened_model.h"
#include "tern/app/oracle_engine.h"
#include "tern/app/own_engine.h"
#include "tern/arch/model_file.h"
#include "tern/base/environment.h"
#include "tern/base/file.h"
#include "tern/base/interrupt.h"
#include "tern/base/json.h"
#include "tern/base/stopwatch.h"
#include "tern/cli/command.h"
#include "tern/cli/options.h"
#include "tern/engine/session.h"
#include "tern/kernels/dispatch.h"
#include "tern/oracle/faults.h"
#include "tern/sweep/environment.h"
#include "tern/tokenizer/tokenizer.h"
#include "tern/trace/run_writer.h"

namespace tern::cli {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxPromptBytes = uint64_t{64} << 20;
constexpr uint64_t kDefaultSeed = 42;

struct RunOptions {
  std::string engine = "tern";
  std::string model, tokenizer;
  std::string prompt, prompt_file, out;
  std::string token_ids_text, teacher_text;
  std::vector<int32_t> token_ids, teacher;  // out of those texts
  bool has_prompt = false, has_token_ids = false;
  int max_tokens = 16;
  double temperature = 0;
  bool greedy = false, ignore_eos = false, no_bos = false, dump_tensors = false, json = false;
  std::optional<uint64_t> seed;
  std::string threads;  // as text: checked together with the environment's value
  bool no_observe = false, trace_list = false;
  int64_t ubatch = 512;
  bool token_by_token = false;
  int64_t n_ctx = 0;
  std::string rounding = "product-first";
  engine::HeadCopy head_copy = engine::HeadCopy::kWhenWorthIt;
  int significant_bits = 0;
  std::string stages = "known";
  std::string inputs_from, inputs_before_text, around_text, oracle_arithmetic = "double", fault;
  std::optional<trace::TensorId> inputs_before, around;  // out of those texts

  int64_t tokens_at_once() const { return token_by_token ? 1 : ubatch; }
};

// "1,2,3". Errors: kUsage.
Result<std::vector<int32_t>> parse_ids(const char* option, std::string_view text) {
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

Result<int> n_threads(const RunOptions& options) {
  const char* option = options.threads.empty() ? nullptr : options.threads.c_str();
  const char* variable = environment_variable("RAYON_NUM_THREADS");
  if (option == nullptr && variable == nullptr) {
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }
  return sweep::thread_count(option, variable);
}

Result<engine::Sampling> sampling(const RunOptions& options) {
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

Result<Words> open_words(const RunOptions& options, const gguf::View& view) {
  Words words;
  auto own = tokenizer::Tokenizer::from_gguf(view);
  if (own) {
    add_end_ids(*own, words);
  }
  if (!options.tokenizer.empty()) {
    TERN_ASSIGN_OR_RETURN(words.tokenizer, tokenizer::Tokenizer::open(options.tokenizer));
    TERN_RETURN_IF_ERROR(app::check_vocabulary(*words.tokenizer, options.tokenizer, view));
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

Result<std::string> prompt_text(const RunOptions& options) {
  return options.prompt_file.empty() ? Result<std::string>(options.prompt)
                                     : read_file(options.prompt_file, kMaxPromptBytes);
}

trace::RunFiles run_files(const RunOptions& options, const arch::Numbers& model, size_t n_prompt) {
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
    files.logits = options.engine != "oracle" || files.around->has_head();
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

void print(const RunOptions& options, const trace::RunResult& result) {
  if (options.json) {
    fmt::print("{}", to_json_text(to_json(result)));
    return;
  }
  fmt::print("Generated tokens: [{}]\n{}\n", fmt::join(result.generated_tokens, ", "), result.text);
}

void log_speed(const trace::RunResult& result) {
  const auto n_steps = static_cast<double>(result.generated_tokens.size()) - 1;
  spdlog::info("{}: loaded in {:.3f} s, {} prompt tokens in {:.3f} s, {} decode steps in {:.3f} s{}", result.engine,
               result.load_s.value_or(0), result.prompt_tokens.size(), result.prefill_s.value_or(0), n_steps,
               result.decode_s.value_or(0),
               n_steps > 0 ? fmt::format(" ({:.1f} tokens/s)", n_steps / result.decode_s.value_or(0)) : std::string());
}

Status check_oracle_usage(const RunOptions& options) {
  const bool oracle = options.engine == "oracle";
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

Status check_usage(const RunOptions& options) {
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
  if (options.around && options.engine == "oracle" && options.inputs_from.empty()) {
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

app::OracleOptions oracle_options(const RunOptions& options, int n_threads) {
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

// A prompt that spells BOS gets a second one from the tokenizer. Both are evaluated: that is what the caller asked for.
void warn_of_doubled_bos(const tokenizer::Tokenizer& tokenizer, const RunOptions& options,
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
Status prepare(const RunOptions& options, Prepared& prepared, const kernels::KernelTable& table) {
  const Stopwatch stopwatch;
  engine::SessionOptions session{.table = &table, .ubatch = options.tokens_at_once(), .n_ctx = options.n_ctx};
  TERN_ASSIGN_OR_RETURN(session.n_threads, n_threads(options));
  prepared.n_threads = session.n_threads;
  session.head_copy = options.head_copy;
  session.rounding =
      options.rounding == "fused" ? kernels::ActivationRounding::kFused : kernels::ActivationRounding::kProductFirst;
  TERN_ASSIGN_OR_RETURN(const arch::ModelFile file, arch::ModelFile::read(prepared.view));
  prepared.numbers = file.numbers();
  TERN_ASSIGN_OR_RETURN(prepared.limits, engine::Limits::of(prepared.view, prepared.numbers.n_vocab,
                                                            prepared.numbers.n_context, options.n_ctx));
  if (options.engine != "oracle") {
    TERN_ASSIGN_OR_RETURN(prepared.session, engine::Session::create(prepared.view, session));
  }
  TERN_ASSIGN_OR_RETURN(prepared.words, open_words(options, prepared.view));

  trace::RunResult& result = prepared.result;
  if (options.engine == "oracle") {
    result.engine = app::oracle_engine_name(oracle_options(options, session.n_threads));
  } else {
    result.engine = fmt::format("tern {} ({})", app::version(), table.name);
    result.arithmetic = app::own_arithmetic(prepared.view, session.rounding);
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

Result<int> run(RunOptions options) {
  if (options.has_token_ids) {
    TERN_ASSIGN_OR_RETURN(options.token_ids, parse_ids("--token-ids", options.token_ids_text));
  }
  if (!options.teacher_text.empty()) {
    TERN_ASSIGN_OR_RETURN(options.teacher, parse_ids("--teacher-tokens", options.teacher_text));
  }
  if (!options.around_text.empty()) {
    TERN_ASSIGN_OR_RETURN(options.around, parse_tensor("--around", options.around_text));
  }
  if (!options.inputs_before_text.empty()) {
    TERN_ASSIGN_OR_RETURN(options.inputs_before, parse_tensor("--inputs-before", options.inputs_before_text));
  }
  TERN_RETURN_IF_ERROR(check_usage(options));
  TERN_ASSIGN_OR_RETURN(const kernels::KernelTable* table, kernels::choose_table());
  TERN_ASSIGN_OR_RETURN(const engine::Sampling how, sampling(options));
  TERN_ASSIGN_OR_RETURN(gguf::View view, gguf::View::open(options.model));
  Prepared prepared{.view = std::move(view),
                    .words = {},
                    .session = nullptr,
                    .numbers = {},
                    .limits = {},
                    .n_threads = 1,
                    .result = {}};
  TERN_RETURN_IF_ERROR(prepare(options, prepared, *table));

  trace::RunResult& result = prepared.result;
  const Interrupt interrupt;
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
      options.engine == "oracle"
          ? app::generate_with_oracle(prepared.view, oracle_options(options, prepared.n_threads), request)
          : prepared.session->generate(request);
  if (!generation && interrupt.signal() != 0) {
    return 128 + interrupt.signal();
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
  print(options, result);
  return 0;
}

void add_engine_options(Command& command, RunOptions& options) {
  command
      .add_option("--engine", options.engine,
                  "tern, or oracle: a plain evaluation in double precision, to say who is wrong (slow)")
      ->check(one_of({"tern", "oracle"}))
      ->capture_default_str();
  command.add_option("--significant-bits", options.significant_bits,
                     "With --engine oracle: round every stage to so many bits, 8 to 52 (float16 has 11)");
  command
      .add_option("--arithmetic", options.oracle_arithmetic,
                  "With --engine oracle: double, or float32 as right engines may compute it, for what rounding does")
      ->check(one_of(app::oracle_arithmetics()))
      ->capture_default_str();
  command.add_option(
      "--inputs-from", options.inputs_from,
      "Compute each stage from the tensors that this run folder (--dump-tensors) has of those before it");
  command.add_option("--inputs-before", options.inputs_before_text,
                     "Take from there only tensors that are executed before this one (blk3/q_proj)");
  command
      .add_option("--fault", options.fault,
                  "With --engine oracle: compute with a known fault, to test a judge. One of the list below")
      ->check([](const std::string& text) {
        const auto chosen = oracle::parse_fault(text);
        return chosen ? std::string() : chosen.error().line();
      });
  command.add_option("--threads", options.threads, "Threads; default: RAYON_NUM_THREADS, or one for each core");
  command.add_option("--ubatch", options.ubatch, "Prompt tokens evaluated at once")
      ->check(in_range(1, 1 << 16))
      ->capture_default_str();
  command
      .add_option(
          "--stages", options.stages,
          "What is recorded: known, the stages that tern knows; all, every node of the graph. The graphs of this "
          "engine consist of the known stages, so both are the same")
      ->check(one_of({"known", "all"}))
      ->capture_default_str();
  command.add_flag("--token-by-token", options.token_by_token, "The same as --ubatch 1, and wins over it");
  command.add_option("--ctx", options.n_ctx, "Most positions to use; default: what the model was made for")
      ->check(in_range(1, 1 << 24));
  add_head_copy_option(command, options.head_copy);
  command
      .add_option("--activation-rounding", options.rounding,
                  "How bitnet.cpp was compiled: clang rounds products first, g++ fuses")
      ->check(one_of({"product-first", "fused"}))
      ->capture_default_str();
}

void add_generation_options(Command& command, RunOptions& options) {
  command.add_option("--max-tokens", options.max_tokens, "Tokens to generate")
      ->check(in_range(1, 1 << 24))
      ->capture_default_str();
  command.add_option("--temperature", options.temperature, "0 is greedy; above, tokens are drawn at random")
      ->capture_default_str();
  command.add_flag("--greedy", options.greedy, "The same as --temperature 0, and wins over it");
  command.add_option("--seed", options.seed, "Of the random draws; default: BITNET_SEED, or 42");
  command.add_option(
      "--teacher-tokens", options.teacher_text,
      "Feed these ids (1,2,3) in the decode steps instead of the tokens chosen; end-of-text stops nothing");
  command.add_flag("--ignore-eos", options.ignore_eos, "Do not stop at an end-of-text token");
  command.add_flag("--no-bos", options.no_bos, "Do not put the BOS token in front of the prompt");
}

}  // namespace

void add_run(Command& app, Action& action) {
  const auto options = std::make_shared<RunOptions>();
  Command* command = app.add_subcommand("run", "Generate text, and trace how it was computed");
  command->add_option("--model", options->model, "The GGUF file")->required();
  command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json; default: the GGUF's own vocabulary");
  CommandOption* prompt = command->add_option("--prompt", options->prompt, "The text to continue");
  command->add_option("--prompt-file", options->prompt_file, "A file that holds it");
  CommandOption* ids = command->add_option("--token-ids", options->token_ids_text, "Its token ids instead: 1,2,3");
  add_generation_options(*command, *options);
  add_engine_options(*command, *options);
  command->add_option("--out", options->out, "Folder for result.json, traces and logits.safetensors");
  command->add_flag("--no-observe", options->no_observe, "No traces, whatever --out and BITNET_TRACE_DIR say");
  command->add_flag("--trace-list", options->trace_list, "Traces as one trace.jsonl instead of a file for each tensor");
  command->add_flag("--dump-tensors", options->dump_tensors, "Keep the values of all traced tensors, too");
  command->add_option("--around", options->around_text,
                      "With --dump-tensors: only those of this tensor's layer (blk3/q_proj), and what goes into it");
  command->add_flag("--json", options->json, "Print result.json instead of the text");
  command->footer(
      std::string("Example: tern run --model models/tern-tiny/tern-tiny-i2_s.gguf --prompt \"Once upon a time\" "
                  "--max-tokens 32\n") +
      "Environment: BITNET_TRACE_DIR (traces go there), BITNET_SEED, BITNET_DETERMINISTIC (temperature 0),\n"
      "RAYON_NUM_THREADS, TERN_ISA (scalar, avx2, avx512, neon: force the kernels).\n" +
      app::fault_help());
  command->callback([options, prompt, ids, &action] {
    options->has_prompt = prompt->count() > 0;
    options->has_token_ids = ids->count() > 0;
    action = [options] { return run(*options); };
  });
}

}  // namespace tern::cli
