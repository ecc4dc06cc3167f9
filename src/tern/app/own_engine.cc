#include "tern/app/own_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "tern/app/build_facts.h"
#include "tern/base/file.h"
#include "tern/kernels/dispatch.h"
#include "tern/peer/number_limits.h"

namespace tern::app {
namespace {

constexpr OwnArithmetic kOwnArithmetics[] = {
    {"bitnet.cpp-x86-64", "product-first", kernels::ActivationRounding::kProductFirst},
    {"bitnet.cpp-x86-64-fused", "fused", kernels::ActivationRounding::kFused}};

// What `tern run` does without --activation-rounding.
constexpr auto kDefaultRounding = kernels::ActivationRounding::kProductFirst;
// Ends the name of an arithmetic whose product is fused into the rounding of activations, whatever comes before it.
constexpr std::string_view kFusedSuffix = "-fused";
static_assert(kOwnArithmetics[1].name.ends_with(kFusedSuffix) && !kOwnArithmetics[0].name.ends_with(kFusedSuffix));

const OwnArithmetic& own_arithmetic_of(kernels::ActivationRounding rounding) {
  return *std::ranges::find(kOwnArithmetics, rounding, &OwnArithmetic::rounding);
}

}  // namespace

std::span<const OwnArithmetic> own_arithmetics() { return kOwnArithmetics; }

std::vector<std::string> oracle_engine_words(const std::vector<std::string>& more) {
  std::vector<std::string> words = {"--engine", "oracle"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Result<std::filesystem::path> own_program() {
  std::error_code error;
  std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    return fail(ErrorCode::kEngine, "/proc/self/exe", "cannot be read: " + error.message());
  }
  return program;
}

Result<std::unique_ptr<peer::Peer>> make_tern_peer(const std::vector<std::string>& more_words, std::string_view isa,
                                                   const peer::Settings& settings) {
  TERN_ASSIGN_OR_RETURN(const std::filesystem::path program, own_program());
  // --prompt= keeps a prompt that starts with '-' from being taken for an option.
  std::vector<std::string> words = {
      program.string(), "run",          "--model",       "{model}", "--tokenizer", "{tokenizer}", "--prompt={prompt}",
      "--max-tokens",   "{max_tokens}", "--temperature", "0.0",     "--greedy",    "--seed",      "42",
      "--threads",      "{threads}",    "--ignore-eos",  "--out",   "{out}"};
  words.insert(words.end(), more_words.begin(), more_words.end());
  if (!isa.empty()) {
    words.insert(words.begin(), {"env", fmt::format("TERN_ISA={}", isa)});
  }
  return peer::make_command_peer(peer::CommandTemplate(std::move(words)), fmt::format("tern {}", version()),
                                 peer::all_abilities(), settings);
}

namespace {

Result<peer::OpenedEngine> open_tern(const peer::EngineRegistry&, const peer::EngineSpec& spec, const peer::Subject&,
                                     const peer::OpenOptions& options) {
  const std::string setting_option = options.option + "-option";
  peer::OpenedEngine own;
  own.kind = own.spec = spec.text();
  TERN_ASSIGN_OR_RETURN(own.settings, peer::parse_settings(options.settings, setting_option));
  std::vector<std::string> tables;
  for (const kernels::KernelTable* table : kernels::runnable_tables()) {
    tables.emplace_back(table->name);
  }
  own.known_settings = {{.key = "isa", .values = std::move(tables)},
                        {.key = "threads", .values = {}, .low = 1, .high = peer::kMostThreads},
                        {.key = "ubatch", .values = {}, .low = 1, .high = peer::kMostTokensAtOnce}};
  TERN_RETURN_IF_ERROR(peer::check_settings(own.settings, own.known_settings, "tern", setting_option));
  own.details = {{"settings", own.settings}};
  const auto isa = own.settings.find("isa");
  const kernels::ActivationRounding rounding = rounding_to_meet(options.meet_arithmetic);
  std::vector<std::string> words;
  if (rounding != kDefaultRounding) {
    words = {"--activation-rounding", std::string(own_arithmetic_of(rounding).option)};
  }
  TERN_ASSIGN_OR_RETURN(
      own.peer, make_tern_peer(words, isa == own.settings.end() ? std::string_view() : isa->second, own.settings));
  return own;
}

}  // namespace

peer::EngineScheme tern_scheme() {
  return {.name = "tern",
          .argument = "",
          .about = "tern's own engine",
          .traits = {.runs = true, .is_own = true},
          .open = open_tern};
}

kernels::ActivationRounding rounding_to_meet(const std::string& arithmetic) {
  return arithmetic.ends_with(kFusedSuffix) ? kernels::ActivationRounding::kFused : kDefaultRounding;
}

std::vector<std::string> typed_command() {
  std::vector<std::string> words;
  const auto line = read_file("/proc/self/cmdline", uint64_t{4} << 20);
  const std::string text = line ? *line : std::string();
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\0', begin);
    words.push_back(text.substr(begin, end - begin));
    begin = end == std::string::npos ? text.size() : end + 1;
  }
  return words;
}

std::string own_arithmetic(const gguf::View& view, kernels::ActivationRounding rounding) {
  bool has_i2s = false;
  for (const gguf::Tensor& tensor : view.tensors()) {
    const bool in_layer = tensor.name.starts_with("blk.") && tensor.dims.size() > 1;
    if (tensor.format == nullptr || (in_layer ? tensor.format != &quant::kI2sBitnetCpp : !tensor.format->is_float())) {
      return {};
    }
    has_i2s |= in_layer;
  }
  if (!has_i2s) {
    return {};
  }
  return std::string(own_arithmetic_of(rounding).name);
}

}  // namespace tern::app
