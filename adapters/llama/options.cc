#include "options.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <string_view>

#include "tern/peer/abilities.h"
#include "tern/trace/stage.h"

namespace tern::adapter {
namespace {

constexpr int kMaxInt = 1 << 30;
constexpr std::string_view kNoObserve = "--no-observe";

tl::unexpected<Error> usage_error(const std::string& where, const std::string& what) {
  return fail(ErrorCode::kUsage, where, what, "tern-llama-adapter --help");
}

Result<int> parse_integer(const std::string& option, std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    return usage_error(
        option, "'" + printable(text) + "' is no number from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

// "1,2,3"
Result<std::vector<int32_t>> parse_ids(const std::string& option, std::string_view text) {
  std::vector<int32_t> ids;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    TERN_ASSIGN_OR_RETURN(const int id, parse_integer(option, text.substr(begin, end - begin), 0, kMaxInt));
    ids.push_back(id);
    begin = end + 1;
  }
  return ids;
}

// Where the value of each option goes.
struct Targets {
  std::map<std::string_view, bool*> flags;
  std::map<std::string_view, std::string*> texts;
  std::map<std::string_view, std::vector<int32_t>*> ids;
  struct Integer {
    int* value;
    int low;
  };
  std::map<std::string_view, Integer> integers;
};

Targets targets_of(Options& o, std::string& ignored) {
  return {
      .flags = {{"--dump-tensors", &o.dump_tensors},
                {"--facts", &o.facts},
                {"--token-by-token", &o.token_by_token},
                {"--trace-list", &o.trace_list},
                {"--list-nodes", &o.list_nodes},
                {"--verbose", &o.verbose},
                {"--help", &o.help},
                {"-h", &o.help}},
      .texts = {{"--model", &o.model},
                {"--prompt", &o.prompt},
                {"--out", &o.out},
                {"--backends", &o.backends},
                {"--engine", &o.engine},
                {"--inputs-from", &o.inputs_from},
                {"--inputs-before", &o.inputs_before},
                {"--around", &o.around},
                {"--arithmetic", &o.arithmetic},
                {"--stages", &o.stages},
                {"--tokenizer", &ignored}},
      .ids = {{"--token-ids", &o.token_ids}, {"--teacher-tokens", &o.teacher}},
      .integers = {{"--max-tokens", {&o.max_tokens, 1}},
                   {"--threads", {&o.threads, 1}},
                   {"--ubatch", {&o.ubatch, 1}},
                   {"--ctx", {&o.ctx, 1}}},
  };
}

// "KEY=VALUE"
Status take_setting(const std::string& text, std::map<std::string, std::string>& settings) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return usage_error("--setting", "'" + printable(text) + "' is not of the form KEY=VALUE");
  }
  settings[text.substr(0, equals)] = text.substr(equals + 1);
  return {};
}

Status take_value(const Targets& targets, const std::string& option, const std::string& value) {
  if (const auto text = targets.texts.find(option); text != targets.texts.end()) {
    *text->second = value;
  } else if (const auto ids = targets.ids.find(option); ids != targets.ids.end()) {
    TERN_ASSIGN_OR_RETURN(*ids->second, parse_ids(option, value));
  } else if (const auto integer = targets.integers.find(option); integer != targets.integers.end()) {
    TERN_ASSIGN_OR_RETURN(*integer->second.value, parse_integer(option, value, integer->second.low, kMaxInt));
  } else {
    return usage_error(printable(option), "is no option of this program");
  }
  return {};
}

Status check(const Options& options) {
  if (options.facts) return {};
  if (options.model.empty()) return usage_error("--model", "is missing");
  if (options.out.empty()) return usage_error("--out", "is missing");
  if (options.has_prompt == !options.token_ids.empty()) {
    return usage_error("--prompt, --token-ids", "exactly one of the two is needed");
  }
  if (options.teacher.size() > static_cast<size_t>(options.max_tokens)) {
    return usage_error("--teacher-tokens", "has more ids than --max-tokens");
  }
  if (options.stages != "known" && options.stages != "all") {
    return usage_error("--stages", "takes known or all, not '" + printable(options.stages) + "'");
  }
  if (options.dump_tensors && !options.observe) {
    return usage_error("--dump-tensors", "needs the tensors that --no-observe leaves alone");
  }
  for (const auto& [option, name] :
       {std::pair("--around", options.around), {"--inputs-before", options.inputs_before}}) {
    if (!name.empty() && !trace::TensorId::parse(name)) {
      return usage_error(option, "'" + printable(name) + "' is no tensor's name");
    }
  }
  if (!options.around.empty() && !options.dump_tensors) {
    return usage_error("--around", "says which tensors --dump-tensors keeps, which is missing");
  }
  if (!options.inputs_before.empty() && options.inputs_from.empty()) {
    return usage_error("--inputs-before", "says which of --inputs-from are taken, which is missing");
  }
  if (!options.inputs_from.empty() && !options.observe) {
    return usage_error("--inputs-from", "needs the tensors that --no-observe leaves alone");
  }
  return {};
}

}  // namespace

Result<Options> parse_options(const std::vector<std::string>& arguments) {
  Options options;
  std::string ignored;  // tern passes a tokenizer; libllama uses the model's own
  const Targets targets = targets_of(options, ignored);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == kNoObserve) {
      options.observe = false;
      continue;
    }
    if (const auto flag = targets.flags.find(argument); flag != targets.flags.end()) {
      *flag->second = true;
      continue;
    }
    if (i + 1 == arguments.size()) return usage_error(printable(argument), "is no option, or lacks its value");
    options.has_prompt = options.has_prompt || argument == "--prompt";
    if (argument == "--setting") {
      TERN_RETURN_IF_ERROR(take_setting(arguments[++i], options.settings));
      continue;
    }
    TERN_RETURN_IF_ERROR(take_value(targets, argument, arguments[++i]));
  }
  const char* folder = std::getenv("BITNET_TRACE_DIR");
  if (folder != nullptr && !options.trace_list) options.trace_folder = folder;
  if (!options.help) {
    TERN_RETURN_IF_ERROR(check(options));
  }
  return options;
}

std::vector<std::string> abilities() {
  Options options;
  std::string ignored;
  const Targets targets = targets_of(options, ignored);
  std::vector<std::string> keys;
  for (const peer::Ability& ability : peer::known_abilities()) {
    const std::string word = ability.option();
    if (word == kNoObserve || targets.flags.contains(word) || targets.texts.contains(word) ||
        targets.ids.contains(word) || targets.integers.contains(word)) {
      keys.emplace_back(ability.key);
    }
  }
  return keys;
}

const char* usage() {
  return R"(tern-llama-adapter: runs one prompt with libllama and writes tern's engine contract.

  --model FILE --out DIR   the GGUF file; a folder that gets result.json, trace.jsonl, logits.safetensors
  --prompt TEXT            tokenized by libllama, BOS and special tokens included
  --token-ids 1,2,3        or the ids themselves
  --max-tokens N           greedy; an end-of-text token does not stop it (1)
  --threads T              (4)
  --teacher-tokens 4,5,6   feed these in the decode steps; generated_tokens still holds the engine's own choices
  --ubatch N               prompt tokens evaluated at once (512)
  --token-by-token         the prompt in steps of one token
  --ctx N                  most positions (what the model was made for)
  --no-observe             no evaluation callback: only tokens and logits
  --stages known|all       record the nodes that hold a stage tern knows, or every node of the graph (known)
  --dump-tensors           tensors.safetensors too
  --around TENSOR          with it, these tensors only: the layer of blk3/q_proj, and what goes into it
  --trace-list             trace.jsonl in spite of BITNET_TRACE_DIR
  --inputs-from DIR        compute each stage from the tensors.safetensors of this run folder
  --inputs-before TENSOR   of these only tensors that are executed before this one
  --list-nodes             print every graph node of the first pass, and the stage it holds
  --backends DIR           where libggml-cpu-*.so are (beside libggml)
  --engine NAME, --arithmetic NAME   taken over into result.json
  --tokenizer FILE         accepted and not used
  --verbose                show libllama's own messages
  --setting KEY=VALUE      flash_attention=on, cache_type_k=q8_0 and the like; --facts lists them
  --facts                  no run: print which library this is, and what can be asked of it, as one JSON object

BITNET_TRACE_DIR: traces go there, a file per tensor, instead of to trace.jsonl.
Exit codes: 2 usage, 3 input or output files, 4 the library failed.
Example: tern-llama-adapter --model m.gguf --prompt "2+2=" --max-tokens 4 --threads 1 --out run
)";
}

}  // namespace tern::adapter
